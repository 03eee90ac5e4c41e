"""Data: LightningDataModules, which also tell what the data says of itself (`facts`)."""
