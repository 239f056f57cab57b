"""List the SunSpec points that voltbench knows by name, as data.

Source: github.com/sunspec/models at 7abdf89 (2026-04-22), models 203, 701, 704 and 713; verified V. A row is name,
offset from the model's ID register, type, scale factor, access. Texts and accumulators that nothing here reads are
left out.
"""

# fmt: off
POINTS: dict[int, str] = {
    701: """
ACType 2 enum16 - r
St 3 enum16 - r
InvSt 4 enum16 - r
ConnSt 5 enum16 - r
Alrm 6 bitfield32 - r
DERMode 8 bitfield32 - r
W 10 int16 W_SF r
VA 11 int16 VA_SF r
Var 12 int16 Var_SF r
PF 13 int16 PF_SF r
A 14 int16 A_SF r
LLV 15 uint16 V_SF r
LNV 16 uint16 V_SF r
Hz 17 uint32 Hz_SF r
TotWhInj 19 uint64 TotWh_SF r
TotWhAbs 23 uint64 TotWh_SF r
TotVarhInj 27 uint64 TotVarh_SF r
TotVarhAbs 31 uint64 TotVarh_SF r
TmpAmb 35 int16 Tmp_SF r
TmpCab 36 int16 Tmp_SF r
TmpSnk 37 int16 Tmp_SF r
TmpTrns 38 int16 Tmp_SF r
TmpSw 39 int16 Tmp_SF r
TmpOt 40 int16 Tmp_SF r
WL1 41 int16 W_SF r
VAL1 42 int16 VA_SF r
VarL1 43 int16 Var_SF r
PFL1 44 int16 PF_SF r
AL1 45 int16 A_SF r
VL1L2 46 uint16 V_SF r
VL1 47 uint16 V_SF r
WL2 64 int16 W_SF r
VAL2 65 int16 VA_SF r
VarL2 66 int16 Var_SF r
PFL2 67 int16 PF_SF r
AL2 68 int16 A_SF r
VL2L3 69 uint16 V_SF r
VL2 70 uint16 V_SF r
WL3 87 int16 W_SF r
VAL3 88 int16 VA_SF r
VarL3 89 int16 Var_SF r
PFL3 90 int16 PF_SF r
AL3 91 int16 A_SF r
VL3L1 92 uint16 V_SF r
VL3 93 uint16 V_SF r
ThrotPct 110 uint16 - r
ThrotSrc 111 bitfield32 - r
A_SF 113 sunssf - r
V_SF 114 sunssf - r
Hz_SF 115 sunssf - r
W_SF 116 sunssf - r
PF_SF 117 sunssf - r
VA_SF 118 sunssf - r
Var_SF 119 sunssf - r
TotWh_SF 120 sunssf - r
TotVarh_SF 121 sunssf - r
Tmp_SF 122 sunssf - r
""",
    704: """
PFWInjEna 2 enum16 - rw
PFWInjEnaRvrt 3 enum16 - rw
PFWInjRvrtTms 4 uint32 - rw
PFWInjRvrtRem 6 uint32 - r
PFWAbsEna 8 enum16 - rw
PFWAbsEnaRvrt 9 enum16 - rw
PFWAbsRvrtTms 10 uint32 - rw
PFWAbsRvrtRem 12 uint32 - r
WMaxLimPctEna 14 enum16 - rw
WMaxLimPct 15 uint16 WMaxLimPct_SF rw
WMaxLimPctRvrt 16 uint16 WMaxLimPct_SF rw
WMaxLimPctEnaRvrt 17 enum16 - rw
WMaxLimPctRvrtTms 18 uint32 - rw
WMaxLimPctRvrtRem 20 uint32 - r
WSetEna 22 enum16 - rw
WSetMod 23 enum16 - rw
WSet 24 int32 WSet_SF rw
WSetRvrt 26 int32 WSet_SF rw
WSetPct 28 int16 WSetPct_SF rw
WSetPctRvrt 29 int16 WSetPct_SF rw
WSetEnaRvrt 30 enum16 - rw
WSetRvrtTms 31 uint32 - rw
WSetRvrtRem 33 uint32 - r
VarSetEna 35 enum16 - rw
VarSetMod 36 enum16 - rw
VarSetPri 37 enum16 - rw
VarSet 38 int32 VarSet_SF rw
VarSetRvrt 40 int32 VarSet_SF rw
VarSetPct 42 int16 VarSetPct_SF rw
VarSetPctRvrt 43 int16 VarSetPct_SF rw
VarSetEnaRvrt 44 enum16 - rw
VarSetRvrtTms 45 uint32 - rw
VarSetRvrtRem 47 uint32 - r
WRmp 49 uint16 - rw
WRmpRef 50 enum16 - rw
VarRmp 51 uint16 - rw
AntiIslEna 52 enum16 - rw
PF_SF 53 sunssf - r
WMaxLimPct_SF 54 sunssf - r
WSet_SF 55 sunssf - r
WSetPct_SF 56 sunssf - r
VarSet_SF 57 sunssf - r
VarSetPct_SF 58 sunssf - r
PFWInj.PF 59 uint16 PF_SF rw
PFWInj.Ext 60 enum16 - rw
PFWInjRvrt.PF 61 uint16 PF_SF rw
PFWInjRvrt.Ext 62 enum16 - rw
PFWAbs.PF 63 uint16 PF_SF rw
PFWAbs.Ext 64 enum16 - rw
PFWAbsRvrt.PF 65 uint16 PF_SF rw
PFWAbsRvrt.Ext 66 enum16 - rw
""",
    713: """
WHRtg 2 uint16 WH_SF r
WHAvail 3 uint16 WH_SF r
SoC 4 uint16 Pct_SF r
SoH 5 uint16 Pct_SF r
Sta 6 enum16 - r
WH_SF 7 sunssf - r
Pct_SF 8 sunssf - r
""",
    203: """
A 2 int16 A_SF r
AphA 3 int16 A_SF r
AphB 4 int16 A_SF r
AphC 5 int16 A_SF r
A_SF 6 sunssf - r
PhV 7 int16 V_SF r
PhVphA 8 int16 V_SF r
PhVphB 9 int16 V_SF r
PhVphC 10 int16 V_SF r
PPV 11 int16 V_SF r
PhVphAB 12 int16 V_SF r
PhVphBC 13 int16 V_SF r
PhVphCA 14 int16 V_SF r
V_SF 15 sunssf - r
Hz 16 int16 Hz_SF r
Hz_SF 17 sunssf - r
W 18 int16 W_SF r
WphA 19 int16 W_SF r
WphB 20 int16 W_SF r
WphC 21 int16 W_SF r
W_SF 22 sunssf - r
VA 23 int16 VA_SF r
VAphA 24 int16 VA_SF r
VAphB 25 int16 VA_SF r
VAphC 26 int16 VA_SF r
VA_SF 27 sunssf - r
VAR 28 int16 VAR_SF r
VARphA 29 int16 VAR_SF r
VARphB 30 int16 VAR_SF r
VARphC 31 int16 VAR_SF r
VAR_SF 32 sunssf - r
PF 33 int16 PF_SF r
PFphA 34 int16 PF_SF r
PFphB 35 int16 PF_SF r
PFphC 36 int16 PF_SF r
PF_SF 37 sunssf - r
TotWhExp 38 acc32 TotWh_SF r
TotWhExpPhA 40 acc32 TotWh_SF r
TotWhExpPhB 42 acc32 TotWh_SF r
TotWhExpPhC 44 acc32 TotWh_SF r
TotWhImp 46 acc32 TotWh_SF r
TotWhImpPhA 48 acc32 TotWh_SF r
TotWhImpPhB 50 acc32 TotWh_SF r
TotWhImpPhC 52 acc32 TotWh_SF r
TotWh_SF 54 sunssf - r
TotVArh_SF 104 sunssf - r
Evt 105 bitfield32 - r
""",
}
# fmt: on
REGISTERS: dict[int, int] = {701: 155, 704: 67, 713: 9, 203: 107}  # with ID and length
