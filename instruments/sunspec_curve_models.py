"""Define the SunSpec DER curves 705 to 712, in the rows that `sunspec_points` reads.

Source: the model definitions of the SunSpec Alliance (github.com/sunspec/models, Apache-2.0), as pysunspec2 1.3.7
has them; verified V, and compared with them in the tests. Point names and units are the specification's.
"""

# fmt: off
MODELS: dict[int, str] = {
    705: """
Ena enum16 - rw
AdptCrvReq uint16 - rw
AdptCrvRslt enum16 - r
NPt uint16 - r
NCrv uint16 - r
RvrtTms uint32 - rw
RvrtRem uint32 - r
RvrtCrv uint16 - rw
V_SF sunssf - r
DeptRef_SF sunssf - r
RspTms_SF sunssf - r
group Crv NCrv
  ActPt uint16 - rw
  DeptRef enum16 - rw
  Pri enum16 - rw
  VRef uint16 V_SF rw
  VRefAuto uint16 V_SF r
  VRefAutoEna enum16 - rw
  VRefAutoTms uint16 - rw
  RspTms uint32 RspTms_SF rw
  ReadOnly enum16 - r
  group Pt NPt
    V uint16 V_SF rw
    Var int16 DeptRef_SF rw
""",
    706: """
Ena enum16 - rw
AdptCrvReq uint16 - rw
AdptCrvRslt enum16 - r
NPt uint16 - r
NCrv uint16 - r
RvrtTms uint32 - rw
RvrtRem uint32 - r
RvrtCrv uint16 - rw
V_SF sunssf - r
DeptRef_SF sunssf - r
RspTms_SF sunssf - r
group Crv NCrv
  ActPt uint16 - rw
  DeptRef enum16 - rw
  RspTms uint32 RspTms_SF rw
  ReadOnly enum16 - r
  group Pt NPt
    V uint16 V_SF rw
    W int16 DeptRef_SF rw
""",
    707: """
Ena enum16 - rw
AdptCrvReq uint16 - rw
AdptCrvRslt enum16 - r
NPt uint16 - r
NCrvSet uint16 - r
V_SF sunssf - r
Tms_SF sunssf - r
group Crv NCrvSet
  ReadOnly enum16 - r
  group MustTrip 1
    ActPt uint16 - rw
    group Pt NPt
      V uint16 V_SF rw
      Tms uint32 Tms_SF rw
  group MayTrip 1
    ActPt uint16 - rw
    group Pt NPt
      V uint16 V_SF rw
      Tms uint32 Tms_SF rw
  group MomCess 1
    ActPt uint16 - rw
    group Pt NPt
      V uint16 V_SF rw
      Tms uint32 Tms_SF rw
""",
    709: """
Ena enum16 - rw
AdptCrvReq uint16 - rw
AdptCrvRslt enum16 - r
NPt uint16 - r
NCrvSet uint16 - r
Hz_SF sunssf - r
Tms_SF sunssf - r
group Crv NCrvSet
  ReadOnly enum16 - r
  group MustTrip 1
    ActPt uint16 - rw
    group Pt NPt
      Hz uint32 Hz_SF rw
      Tms uint32 Tms_SF rw
  group MayTrip 1
    ActPt uint16 - rw
    group Pt NPt
      Hz uint32 Hz_SF rw
      Tms uint32 Tms_SF rw
  group MomCess 1
    ActPt uint16 - rw
    group Pt NPt
      Hz uint32 Hz_SF rw
      Tms uint32 Tms_SF rw
""",
    711: """
Ena enum16 - rw
AdptCtlReq uint16 - rw
AdptCtlRslt enum16 - r
NCtl uint16 - r
RvrtTms uint32 - rw
RvrtRem uint32 - r
RvrtCtl uint16 - rw
Db_SF sunssf - r
K_SF sunssf - r
RspTms_SF sunssf - r
group Ctl NCtl
  DbOf uint32 Db_SF rw
  DbUf uint32 Db_SF rw
  KOf uint16 K_SF rw
  KUf uint16 K_SF rw
  RspTms uint32 RspTms_SF rw
  PMin int16 - rw
  ReadOnly enum16 - r
""",
    712: """
Ena enum16 - rw
AdptCrvReq uint16 - rw
AdptCrvRslt enum16 - r
NPt uint16 - r
NCrv uint16 - r
RvrtTms uint32 - rw
RvrtRem uint32 - r
RvrtCrv uint16 - rw
W_SF sunssf - r
DeptRef_SF sunssf - r
group Crv NCrv
  ActPt uint16 - rw
  DeptRef enum16 - rw
  Pri enum16 - rw
  ReadOnly enum16 - r
  group Pt NPt
    W int16 W_SF rw
    Var int16 DeptRef_SF rw
""",
}
# fmt: on
MODELS[708] = MODELS[707]
MODELS[710] = MODELS[709]
