"""Other people's models as plug-ins: diffusers pipelines, bridges, image-text-to-text models, ONNX files, commands.

Each is found by its name at the doors of :mod:`harmonygen.plugins`, which keep its results to the guarantees: what is
outside the mask is pasted back, and pictures at the model's size are brought to full size.
"""
