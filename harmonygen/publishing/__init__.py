"""Verify a built dataset folder and publish it on the Hugging Face Hub."""
