"""The published objective from its equations, differentiated twice."""

import torch
import torch.nn.functional as F


class AdversarialTraining:
    def __init__(self, generator, discriminator):
        self.generator, self.discriminator = generator, discriminator

    def AccumulateGeneratorGradients(self, noise, real, conditions, Preprocessor=lambda x: x):
        fake = self.discriminator(Preprocessor(self.generator(noise, conditions)), conditions)
        F.softplus(self.discriminator(Preprocessor(real), conditions) - fake).mean().backward()

    def AccumulateDiscriminatorGradients(self, noise, real, conditions, gamma, Preprocessor=lambda x: x):
        images = [x.detach().requires_grad_() for x in (real, self.generator(noise, conditions))]
        logits = [self.discriminator(Preprocessor(x), conditions) for x in images]
        loss = F.softplus(logits[1] - logits[0])
        for x, logit in zip(images, logits, strict=True):
            (gradient,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
            loss = loss + gamma / 2 * gradient.square().sum((1, 2, 3))
        loss.mean().backward()
