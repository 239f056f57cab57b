"""Define the SunSpec DER models 701 to 704 and 713, in the rows that `sunspec_points` reads.

Source: the model definitions of the SunSpec Alliance (github.com/sunspec/models, Apache-2.0), as pysunspec2 1.3.7
has them; verified V, and compared with them in the tests. Point names and units are the specification's.
"""

# fmt: off
MODELS: dict[int, str] = {
    701: """
ACType enum16 - r
St enum16 - r
InvSt enum16 - r
ConnSt enum16 - r
Alrm bitfield32 - r
DERMode bitfield32 - r
W int16 W_SF r
VA int16 VA_SF r
Var int16 Var_SF r
PF int16 PF_SF r
A int16 A_SF r
LLV uint16 V_SF r
LNV uint16 V_SF r
Hz uint32 Hz_SF r
TotWhInj uint64 TotWh_SF r
TotWhAbs uint64 TotWh_SF r
TotVarhInj uint64 TotVarh_SF r
TotVarhAbs uint64 TotVarh_SF r
TmpAmb int16 Tmp_SF r
TmpCab int16 Tmp_SF r
TmpSnk int16 Tmp_SF r
TmpTrns int16 Tmp_SF r
TmpSw int16 Tmp_SF r
TmpOt int16 Tmp_SF r
WL1 int16 W_SF r
VAL1 int16 VA_SF r
VarL1 int16 Var_SF r
PFL1 int16 PF_SF r
AL1 int16 A_SF r
VL1L2 uint16 V_SF r
VL1 uint16 V_SF r
TotWhInjL1 uint64 TotWh_SF r
TotWhAbsL1 uint64 TotWh_SF r
TotVarhInjL1 uint64 TotVarh_SF r
TotVarhAbsL1 uint64 TotVarh_SF r
WL2 int16 W_SF r
VAL2 int16 VA_SF r
VarL2 int16 Var_SF r
PFL2 int16 PF_SF r
AL2 int16 A_SF r
VL2L3 uint16 V_SF r
VL2 uint16 V_SF r
TotWhInjL2 uint64 TotWh_SF r
TotWhAbsL2 uint64 TotWh_SF r
TotVarhInjL2 uint64 TotVarh_SF r
TotVarhAbsL2 uint64 TotVarh_SF r
WL3 int16 W_SF r
VAL3 int16 VA_SF r
VarL3 int16 Var_SF r
PFL3 int16 PF_SF r
AL3 int16 A_SF r
VL3L1 uint16 V_SF r
VL3 uint16 V_SF r
TotWhInjL3 uint64 TotWh_SF r
TotWhAbsL3 uint64 TotWh_SF r
TotVarhInjL3 uint64 TotVarh_SF r
TotVarhAbsL3 uint64 TotVarh_SF r
ThrotPct uint16 - r
ThrotSrc bitfield32 - r
A_SF sunssf - r
V_SF sunssf - r
Hz_SF sunssf - r
W_SF sunssf - r
PF_SF sunssf - r
VA_SF sunssf - r
Var_SF sunssf - r
TotWh_SF sunssf - r
TotVarh_SF sunssf - r
Tmp_SF sunssf - r
MnAlrmInfo string32 - r
""",
    702: """
WMaxRtg uint16 W_SF r
WOvrExtRtg uint16 W_SF r
WOvrExtRtgPF uint16 PF_SF r
WUndExtRtg uint16 W_SF r
WUndExtRtgPF uint16 PF_SF r
VAMaxRtg uint16 VA_SF r
VarMaxInjRtg uint16 Var_SF r
VarMaxAbsRtg uint16 Var_SF r
WChaRteMaxRtg uint16 W_SF r
WDisChaRteMaxRtg uint16 W_SF r
VAChaRteMaxRtg uint16 VA_SF r
VADisChaRteMaxRtg uint16 VA_SF r
VNomRtg uint16 V_SF r
VMaxRtg uint16 V_SF r
VMinRtg uint16 V_SF r
AMaxRtg uint16 A_SF r
PFOvrExtRtg uint16 PF_SF r
PFUndExtRtg uint16 PF_SF r
ReactSusceptRtg uint16 S_SF r
NorOpCatRtg enum16 - r
AbnOpCatRtg enum16 - r
CtrlModes bitfield32 - r
IntIslandCatRtg bitfield16 - r
WMax uint16 W_SF rw
WMaxOvrExt uint16 W_SF rw
WOvrExtPF uint16 PF_SF rw
WMaxUndExt uint16 W_SF rw
WUndExtPF uint16 PF_SF rw
VAMax uint16 VA_SF rw
VarMaxInj uint16 Var_SF rw
VarMaxAbs uint16 Var_SF rw
WChaRteMax uint16 W_SF rw
WDisChaRteMax uint16 W_SF rw
VAChaRteMax uint16 VA_SF rw
VADisChaRteMax uint16 VA_SF rw
VNom uint16 V_SF rw
VMax uint16 V_SF rw
VMin uint16 V_SF rw
AMax uint16 A_SF rw
PFOvrExt uint16 PF_SF rw
PFUndExt uint16 PF_SF rw
IntIslandCat bitfield16 - rw
W_SF sunssf - r
PF_SF sunssf - r
VA_SF sunssf - r
Var_SF sunssf - r
V_SF sunssf - r
A_SF sunssf - r
S_SF sunssf - r
""",
    703: """
ES enum16 - rw
ESVHi uint16 V_SF rw
ESVLo uint16 V_SF rw
ESHzHi uint32 Hz_SF rw
ESHzLo uint32 Hz_SF rw
ESDlyTms uint32 - rw
ESRndTms uint32 - rw
ESRmpTms uint32 - rw
ESDlyRemTms uint32 - r
V_SF sunssf - r
Hz_SF sunssf - r
""",
    704: """
PFWInjEna enum16 - rw
PFWInjEnaRvrt enum16 - rw
PFWInjRvrtTms uint32 - rw
PFWInjRvrtRem uint32 - r
PFWAbsEna enum16 - rw
PFWAbsEnaRvrt enum16 - rw
PFWAbsRvrtTms uint32 - rw
PFWAbsRvrtRem uint32 - r
WMaxLimPctEna enum16 - rw
WMaxLimPct uint16 WMaxLimPct_SF rw
WMaxLimPctRvrt uint16 WMaxLimPct_SF rw
WMaxLimPctEnaRvrt enum16 - rw
WMaxLimPctRvrtTms uint32 - rw
WMaxLimPctRvrtRem uint32 - r
WSetEna enum16 - rw
WSetMod enum16 - rw
WSet int32 WSet_SF rw
WSetRvrt int32 WSet_SF rw
WSetPct int16 WSetPct_SF rw
WSetPctRvrt int16 WSetPct_SF rw
WSetEnaRvrt enum16 - rw
WSetRvrtTms uint32 - rw
WSetRvrtRem uint32 - r
VarSetEna enum16 - rw
VarSetMod enum16 - rw
VarSetPri enum16 - rw
VarSet int32 VarSet_SF rw
VarSetRvrt int32 VarSet_SF rw
VarSetPct int16 VarSetPct_SF rw
VarSetPctRvrt int16 VarSetPct_SF rw
VarSetEnaRvrt enum16 - rw
VarSetRvrtTms uint32 - rw
VarSetRvrtRem uint32 - r
WRmp uint16 - rw
WRmpRef enum16 - rw
VarRmp uint16 - rw
AntiIslEna enum16 - rw
PF_SF sunssf - r
WMaxLimPct_SF sunssf - r
WSet_SF sunssf - r
WSetPct_SF sunssf - r
VarSet_SF sunssf - r
VarSetPct_SF sunssf - r
group PFWInj 1
  PF uint16 PF_SF rw
  Ext enum16 - rw
group PFWInjRvrt 1
  PF uint16 PF_SF rw
  Ext enum16 - rw
group PFWAbs 1
  PF uint16 PF_SF rw
  Ext enum16 - rw
group PFWAbsRvrt 1
  PF uint16 PF_SF rw
  Ext enum16 - rw
""",
    713: """
WHRtg uint16 WH_SF r
WHAvail uint16 WH_SF r
SoC uint16 Pct_SF r
SoH uint16 Pct_SF r
Sta enum16 - r
WH_SF sunssf - r
Pct_SF sunssf - r
""",
}
# fmt: on
