"""The Grid Engine plugin: a host group a fleet, in the queue that is its partition."""
