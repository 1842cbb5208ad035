"""Settings of a training that ends in a second."""

TINY_SETTINGS = {
    "training.generator_updates": "2",
    "training.batch_size": "3",
    "training.validate_every": "1",
    "training.validation_images": "4",
    "training.num_threads": "1",
    "generator.width": "4",
    "critic.width": "4",
    "schedule.critic_updates": "1",
    "schedule.warmup_generator_updates": "0",
    "schedule.distillation_updates": "1",
}
TINY = ["--set", *(f"{key}={value}" for key, value in TINY_SETTINGS.items())]
