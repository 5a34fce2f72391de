"""The commands: thin, their heavy imports inside."""
