import torch,time
from models.clip import Clip; from models.config import *
from train.evals.suite import *
m=Clip(ClipConfig(embed_dim=192,vision=VisionTransformerConfig(image_px=64,patch_px=16,width=192,layers=3,heads=3),text=TextConfig(context_length=32,width=192,layers=2,heads=3)))
t=time.time(); print(probe_digits(m,64,LinearProbeConfig())); print(time.time()-t)
