"""The workstations: commands over MQTT, their certificates, their uploads."""
