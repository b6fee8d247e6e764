"""Two convolutional blocks and a linear layer, for small images."""

from torch import nn

from suite import registry


def block(channels, filters):
    # Batch statistics in training and test: no running ones are kept.
    norm = nn.BatchNorm2d(filters, track_running_stats=False)
    return nn.Conv2d(channels, filters, 3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2)


@registry.model("conv2")
class Conv2(nn.Module):
    def __init__(self, input_shape, outputs, filters: int = 32):
        super().__init__()
        channels, height, width = input_shape
        blocks = (*block(channels, filters), *block(filters, filters))
        self.body = nn.Sequential(*blocks, nn.Flatten())
        self.classifier = nn.Linear(filters * (height // 4) * (width // 4), outputs)
        self.head = ("classifier.weight", "classifier.bias")  # fine-tuning replaces it

    def forward(self, x):
        return self.classifier(self.body(x))
