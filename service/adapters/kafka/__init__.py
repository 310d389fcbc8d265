"""The topic `events` in Kafka: appending, reading, and the topic itself."""
