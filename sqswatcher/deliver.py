"""From a parsed message to what it says of instances: one place that knows what each kind of message means to membership."""
