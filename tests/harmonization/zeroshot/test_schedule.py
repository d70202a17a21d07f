from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonygen.harmonization.zeroshot.schedule import Schedule, invert, reconstruct

CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
}
PREDICTIONS = st.sampled_from(["epsilon", "v_prediction"])


def noise(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [10, 50])
def test_steps_down_are_those_of_diffusers_own_ddim(prediction, steps):
    theirs = DDIMScheduler.from_config({**CONFIG, "prediction_type": prediction})
    theirs.set_timesteps(steps)
    ours = Schedule(CONFIG, steps, prediction)
    latents, predicted = noise(1), noise(2)
    for level, time in zip(range(steps, 0, -1), theirs.timesteps, strict=True):
        assert ours.time(level) == int(time)
        expected = theirs.step(predicted, int(time), latents).prev_sample
        torch.testing.assert_close(ours.denoise(latents, predicted, level), expected, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 20), PREDICTIONS, st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_a_step_up_with_the_noise_of_the_step_down_undoes_it(level, prediction, seed):
    schedule = Schedule(CONFIG, 20, prediction)
    latents, predicted = noise(seed).double(), noise(seed + 1000).double()
    below = schedule.denoise(latents, predicted, level)
    back = schedule.invert(below, schedule.noise(latents, predicted, level), level)
    torch.testing.assert_close(back, latents, rtol=1e-8, atol=1e-8)


@given(st.integers(1, 20), PREDICTIONS)
@settings(deadline=None, max_examples=20)
def test_clean_and_noise_of_a_prediction_make_up_the_latents_again(level, prediction):
    schedule = Schedule(CONFIG, 20, prediction)
    latents, predicted = noise(3).double(), noise(4).double()
    alpha = schedule.alphas[level]
    again = alpha**0.5 * schedule.clean(latents, predicted, level)
    again += (1 - alpha) ** 0.5 * schedule.noise(latents, predicted, level)
    torch.testing.assert_close(again, latents)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_where_the_model_knows_the_answer_inversion_and_reconstruction_are_exact(prediction):
    """For one Gaussian cloud of pictures the best prediction is known: the way up and down is exact but for steps."""
    spread = 0.5
    errors = []
    for steps in (25, 100):
        schedule = Schedule(CONFIG, steps, prediction)
        alphas = dict(zip(schedule.times, schedule.alphas[1:], strict=True))

        def predict(latents, time, states, alphas=alphas):
            alpha = alphas[time]
            of_noise = (1 - alpha) ** 0.5 / (alpha * spread**2 + 1 - alpha) * latents
            if prediction == "epsilon":
                return of_noise
            clean = (latents - (1 - alpha) ** 0.5 * of_noise) / alpha**0.5
            return alpha**0.5 * of_noise - (1 - alpha) ** 0.5 * clean

        start = noise(5).double() * spread
        path = invert(predict, schedule, start, torch.zeros(1, 1, 1))
        assert len(path) == steps + 1
        assert 0.8 < float(path[-1].std()) < 1.2  # noise of unit size at the top
        errors.append(float((reconstruct(predict, schedule, path[-1], torch.zeros(1, 1, 1)) - start).abs().max()))
    assert errors[1] < 0.35 * errors[0] < 0.05
