"""An AWS account on 127.0.0.1: moto for most services, an emulation of our own for Auto Scaling and its instances."""
