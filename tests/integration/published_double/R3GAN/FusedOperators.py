BiasedActivationCUDA = BiasedActivationReference = None
