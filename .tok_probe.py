import regex, sys, time
from models.tokenizer import Tokenizer, WORD_PATTERN, clean
from open_clip.tokenizer import SimpleTokenizer
t0=time.time(); T=Tokenizer(); print("build",time.time()-t0, T.start_token, T.end_token)
R=SimpleTokenizer()
bad=[]
for cp in range(0x110000):
    if 0xd800<=cp<0xe000: continue
    pass
import itertools
texts=["a"+chr(cp)+"1"+chr(cp)+"'"+chr(cp)+" "+chr(cp) for cp in range(0x110000) if not 0xd800<=cp<0xe000 and not 0xf0000<=cp]
t0=time.time(); 
bad=[]
for i in range(0,len(texts),20000):
    part=texts[i:i+20000]
    R.cache={k:v for k,v in R.cache.items() if len(R.cache)<100000 or k.startswith('<')}
    a=T.encode(part); b=R(part)
    for t,x,y in zip(part,a,b):
        if not (x==y).all(): bad.append(t)
print(len(texts),len(bad),time.time()-t0)
import unicodedata
pts=[ord(t[1]) for t in bad]
def runs(p):
    out=[];
    for c in p:
        if out and out[-1][1]==c-1: out[-1][1]=c
        else: out.append([c,c])
    return out
r=runs(pts); print(len(r), [(hex(a),hex(b)) for a,b in r][:80])
