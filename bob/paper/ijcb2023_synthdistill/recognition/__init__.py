"""The recognisers: IResNet teachers, TinyFaR students, loading and freezing."""
