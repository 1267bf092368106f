"""The characters of code page 437, 8 x 16, 8 x 14 and 8 x 8 dots, as a VGA's BIOS has them in ROM.

The glyphs are Unscii's (unscii-16 and unscii-8 by Viznut, in the public domain), as the Python package unscii 0.1.1 has
them by code point. Eight that it lacks were drawn here: 2193h, 2195h, 2219h, 2302h, 2310h, 263Ch, 2640h, 2642h. A row
is a byte, bit 7 its left dot.
"""

from base64 import b85decode
from functools import cache
from zlib import decompress

CHARACTERS = 256
_TALL = (
    "c-nPW&1xe@5FRj0_As$^>_o<fun!=z5Qfmmu+Ol$4;$z}7;KY+RxHg3-"
    "|`BETyx1gEDRCMY0%z;Kt}Azx)`k>u=pTmQq{lJZSQ9^?wYEuuD`DCNs<`+_08WmHy>_qUUN-X{krex+rH9tQg#3-"
    "^MRQ#$aC4roYHT)?#&=~w1f#DWLIE}0~o_`57=(!fbAB?upSrUH9!c?kw2f`-hKew-"
    "p=R9Kl$d{@1`waYU~vN&MK`B)t{aX8Jj*{8+!ID;<xR6ZB}3N?Ut{dd{XZZ{b66b2ppYU^cN>bRvib`j8$C83kMwIoAG<V&)*}oImIY1#ZRYMD!7"
    "korQozNqq3*;6PPuV7g^V3FTAqBXf_)SNY1(x;K`Sw@5M_k3djKx&>7$u-"
    "y!cw`t8~{G7g6VWm$ISXOamXGxSzZNSn50Y%~(0Q6bICG9SI)K*A<Q|A?x~P*#Dl3~2nP;RGSQJtt;hWSCE%K@ReT3wQFIW0>2cG*zlcMNu33nr5"
    "-QZ<<mUEX$`h{I<Se3g|8feVV4iq&GX|W!rXWv0l0;3YmKTDa@3rVl-W)+5+nV*6)O0I=-ssF$(3>@Wgp+2F_n)9A+S)-unnBUS@-"
    "X=4T|oiENr?v)SC$wKVk(>sO}4kq?7%TEbIW1qH&|t5`w_IsXfZkIKhG%_#i*OXXzZb`)8U><>k!26nv$>T9)MwQbXA_Z+l*v)gscWrHyC_xE4A&"
    "0=9_?shPD{s|e_XZb3mnqNBm(0*0#HlKdKCSix*l(r2oQI;*2-EODtna^?OK-"
    "A}RORE=FU!}@rWb2QQJYa#kE(*1EvNS!ymc=s<uDWko8qc3W4^==4$DIM`*yTs1Q@J2LA4|aahq)OGpHCAbNW12rfuWVQ*YS;fno6o)nDU02QtqG"
    "W{gvU*V5;R!Me6!<;XiZwTc`l20Y_8)KF2)bOIrfozSQwueJDOSr;JB9|NQzQiicj#cPuP`r7Q_u<}^#fu5V1N)c#fZKUS{p)$`c5YgaIzv?=QO3"
    "FtqTe?`e1;8IP~`B>QfoTaDwRHOE1EXXGmYFHm4qDL&GImDULq<(Nct&h};i0Bb}%FmUz-"
    "X20Lc~671Z)nCEd|_$ut_u5=iuZ6hTdm%y@r67<d&djMNAG{IzeC#CYiT7<<B5DqlXyeEf#S4(03G!c=!?|~P?;MK?C+x3WBv}Le^mBDbbz{kE3R"
    "Pre~NuPWaj*2t815ElAnx)@ytSh6iw})+|m676g1o~n}zMaTy=*rIghwfRk>pse%RgUeoVT$uD^1>5%*<@=XWXE1)+ZwzkmGK>ZAP_@Jh7e6;TJ2"
    "X!Y=iKf}L&ehL59@76o|`^ru2@i8QsrAv*62Qx4h91Z~;%RgjRK8Bed@gK5-"
    "znuXNhwwTF`okU&*~`w)!|NYjw1ab^kLAM<J9#%h6ldpQJg%++`>%>wu-vQ&`Ja<MI<`JX^RI&V^iJN+xAMlkB((RukM;Mlf5CdQSr}jNFPQKBwG"
    "Pd~G&+689@fY86vp4hyN}=#q_K~15+R<aF~RM+nCSBqI^C+p?c4hM9J#-#{YZk{)p#9(<Eid^|5Wp3be=(zHJe)BnKJ!-"
    "BJr$VO8YS))!{_us~63#EO)jwz=D$MpRCvGOX`oT@3cyCUKhnU2`_l$x?Ir<v;DrXZ_NGK(dNEw=;PsV_)JHD4t?!gT$PaT6+DvNvCM<MmyoU)(E"
    "j7}NZp3pw#?1TDd{VC9H4nJ{_?cnpE3Ri{AQWZ"
)
_SHORT = (
    "c-l=>&1xJ+5UxZp@?o-?V<QPG1V6xl!3?2U1?TFcbIHLp7&;IdX;16L487=<Lta1+kW1b{u&~g%4AN~`SR;J0E<)DH5n-"
    "9mSJgdHYImo$s;j^H>FOGyME>lLvy1aH@8c#eZ=!d7-?vRgRnunvx_@0YBKJ*;9ZG9O6ywbj_K~!G`O<2N%kzti^JU!I{bts6-"
    "Ar3+wem_GK0Q#ghspdc=$B6mwb3^>dZXy$Hf}!xZudAI?=mWEy;hcqEREm4|9*depR@szF0{nzz1YDliv2)P(37(7%O^xtJ)hSVtQU(#5BAK)XrE"
    "D4HBE~YkX_p}Rh82x*-whtE0c3QK91Db=%PiUp;NUD)VOB)p_{_K7Q0f_b*)OmuPj+-b<|b>5!ip=Z0zaL8SNCXHVc&PWQxQ{HIe{i)-x{-"
    "3+NBE>-"
    "w@JZ`wlS+O%x%3jhFztHLrK<DzT?`+vWh(KtSK&jGLi72}tjZyT<!uNN)qX{|@@0Ov2(jWNKTIaI{W;NP?caV5_C%?Vs`y*$?}or0%=3Hw5~zF&8"
    "NjF6{r*RMhd6h3{qz695Dz*_tzJofWKWVmE}%{cjV$!7b+6aj11-"
    "vwGi&~_=D?R=5zS2Jl^aKgn7>5@sKe_fzQidf8lbumUhhRbWYzcs?r$Y*RhPsr9Au7AtGkjGr{HrZQLk`M4Hl_ZX4D4s*@M9X@ju3xR#b+RYPSSJ"
    "}M8LwcO>j9Y?kLudP9q+d}j+8$dGOSw1+@+LwneT^30X&VAnkY4*d^3mzsA&2jr^|&1{cz68X8cjk6N<479yc)6Ws*6dM4#)UV5iyM=6#dQQ|5xx"
    "FrQ>u?6_V^{v>}=4}UOUzoTQcd)Hm@KIv<l>omzc1<LWHcx}!bor{)eAqU~4{Ce$iD$d*+yG?xprw?8CPq+$yjSg5`PewVfQI2nv{fsg`>ct1fJb"
    "bxE-"
    "#Rzui_|#R5W69?o17zU7Yk0KkcRppyn6H8c6&dDS3ke__3CStCk#PppL07{{3H7AxAgh*r}Wvp+uZT*aj2<>hr|?f=iKcr9_()`e9+&PtRD!=S-"
    "vf|GS9Z#G<sm4Iw0e!qoXwcFvQcHh=X1NCeh1!QmdmB$LXoypPIRBo0}wmri2seb6!7{c%tZe{cp&Cql9}D2m3hqlYR4fiWmN5J^5uv^OU040Y}B"
    "5PAPtgJ7!7=#dx1-FVnC_G`$R$Q$BT!9mn&{r2E%P8GFo++VBg+chXnf7cB<2Os0~mcC}iy6?b3H>)eIG-"
    "SNIQ*-tl{6ZUhm*~l9K_u7o}{Ih8+`{8xrNyalco<PSvJ~(*ng!OtNMht_7<h!g>@8!2j;{5n(r}%w6`Ia!irCBD(VwPW?{Qey1Uw%GOq5"
)


@cache
def font(height: int) -> bytes:
    """All characters, `height` bytes each: 16, 14 or 8. That of 14 is that of 16 without its first and last row."""
    if height == 14:
        tall = font(16)
        return b"".join(tall[at + 1 : at + 15] for at in range(0, len(tall), 16))
    return decompress(b85decode(_TALL if height == 16 else _SHORT))
