"""The real RabbitMQ and PostgreSQL that the tests run against: found, brought or installed, never silently done without."""
