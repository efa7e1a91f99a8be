"""Task (i): VGG16 with unpooling on the pixel labels of few scenes, without dropout."""

base = "_weak.py"

architecture, encoder = "enc_dec_unpool", "vgg16_bn"
pretrained = False  # True fetches VGG16-BN's ImageNet weights; or a file of them
dropout = 0.0  # of the decoder's blocks
width = 64  # channels of the first convolutions; less for a CPU
rarest, dice = 0.0, 0.0


def options():
    return {"dropout": dropout, "width": width}
