"""From a trained student to a phone, and to two photographs."""
