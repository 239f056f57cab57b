"""Define the SunSpec meters 201 to 204, in the rows that `sunspec_points` reads.

Source: the model definitions of the SunSpec Alliance (github.com/sunspec/models, Apache-2.0), as pysunspec2 1.3.7
has them; verified V, and compared with them in the tests. Point names and units are the specification's.
"""

# fmt: off
MODELS: dict[int, str] = {
    201: """
A int16 A_SF r
AphA int16 A_SF r
AphB int16 A_SF r
AphC int16 A_SF r
A_SF sunssf - r
PhV int16 V_SF r
PhVphA int16 V_SF r
PhVphB int16 V_SF r
PhVphC int16 V_SF r
PPV int16 V_SF r
PPVphAB int16 V_SF r
PPVphBC int16 V_SF r
PPVphCA int16 V_SF r
V_SF sunssf - r
Hz int16 Hz_SF r
Hz_SF sunssf - r
W int16 W_SF r
WphA int16 W_SF r
WphB int16 W_SF r
WphC int16 W_SF r
W_SF sunssf - r
VA int16 VA_SF r
VAphA int16 VA_SF r
VAphB int16 VA_SF r
VAphC int16 VA_SF r
VA_SF sunssf - r
VAR int16 VAR_SF r
VARphA int16 VAR_SF r
VARphB int16 VAR_SF r
VARphC int16 VAR_SF r
VAR_SF sunssf - r
PF int16 PF_SF r
PFphA int16 PF_SF r
PFphB int16 PF_SF r
PFphC int16 PF_SF r
PF_SF sunssf - r
TotWhExp acc32 TotWh_SF r
TotWhExpPhA acc32 TotWh_SF r
TotWhExpPhB acc32 TotWh_SF r
TotWhExpPhC acc32 TotWh_SF r
TotWhImp acc32 TotWh_SF r
TotWhImpPhA acc32 TotWh_SF r
TotWhImpPhB acc32 TotWh_SF r
TotWhImpPhC acc32 TotWh_SF r
TotWh_SF sunssf - r
TotVAhExp acc32 TotVAh_SF r
TotVAhExpPhA acc32 TotVAh_SF r
TotVAhExpPhB acc32 TotVAh_SF r
TotVAhExpPhC acc32 TotVAh_SF r
TotVAhImp acc32 TotVAh_SF r
TotVAhImpPhA acc32 TotVAh_SF r
TotVAhImpPhB acc32 TotVAh_SF r
TotVAhImpPhC acc32 TotVAh_SF r
TotVAh_SF sunssf - r
TotVArhImpQ1 acc32 TotVArh_SF r
TotVArhImpQ1PhA acc32 TotVArh_SF r
TotVArhImpQ1PhB acc32 TotVArh_SF r
TotVArhImpQ1PhC acc32 TotVArh_SF r
TotVArhImpQ2 acc32 TotVArh_SF r
TotVArhImpQ2PhA acc32 TotVArh_SF r
TotVArhImpQ2PhB acc32 TotVArh_SF r
TotVArhImpQ2PhC acc32 TotVArh_SF r
TotVArhExpQ3 acc32 TotVArh_SF r
TotVArhExpQ3PhA acc32 TotVArh_SF r
TotVArhExpQ3PhB acc32 TotVArh_SF r
TotVArhExpQ3PhC acc32 TotVArh_SF r
TotVArhExpQ4 acc32 TotVArh_SF r
TotVArhExpQ4PhA acc32 TotVArh_SF r
TotVArhExpQ4PhB acc32 TotVArh_SF r
TotVArhExpQ4PhC acc32 TotVArh_SF r
TotVArh_SF sunssf - r
Evt bitfield32 - r
""",
    203: """
A int16 A_SF r
AphA int16 A_SF r
AphB int16 A_SF r
AphC int16 A_SF r
A_SF sunssf - r
PhV int16 V_SF r
PhVphA int16 V_SF r
PhVphB int16 V_SF r
PhVphC int16 V_SF r
PPV int16 V_SF r
PhVphAB int16 V_SF r
PhVphBC int16 V_SF r
PhVphCA int16 V_SF r
V_SF sunssf - r
Hz int16 Hz_SF r
Hz_SF sunssf - r
W int16 W_SF r
WphA int16 W_SF r
WphB int16 W_SF r
WphC int16 W_SF r
W_SF sunssf - r
VA int16 VA_SF r
VAphA int16 VA_SF r
VAphB int16 VA_SF r
VAphC int16 VA_SF r
VA_SF sunssf - r
VAR int16 VAR_SF r
VARphA int16 VAR_SF r
VARphB int16 VAR_SF r
VARphC int16 VAR_SF r
VAR_SF sunssf - r
PF int16 PF_SF r
PFphA int16 PF_SF r
PFphB int16 PF_SF r
PFphC int16 PF_SF r
PF_SF sunssf - r
TotWhExp acc32 TotWh_SF r
TotWhExpPhA acc32 TotWh_SF r
TotWhExpPhB acc32 TotWh_SF r
TotWhExpPhC acc32 TotWh_SF r
TotWhImp acc32 TotWh_SF r
TotWhImpPhA acc32 TotWh_SF r
TotWhImpPhB acc32 TotWh_SF r
TotWhImpPhC acc32 TotWh_SF r
TotWh_SF sunssf - r
TotVAhExp acc32 TotVAh_SF r
TotVAhExpPhA acc32 TotVAh_SF r
TotVAhExpPhB acc32 TotVAh_SF r
TotVAhExpPhC acc32 TotVAh_SF r
TotVAhImp acc32 TotVAh_SF r
TotVAhImpPhA acc32 TotVAh_SF r
TotVAhImpPhB acc32 TotVAh_SF r
TotVAhImpPhC acc32 TotVAh_SF r
TotVAh_SF sunssf - r
TotVArhImpQ1 acc32 TotVArh_SF r
TotVArhImpQ1PhA acc32 TotVArh_SF r
TotVArhImpQ1PhB acc32 TotVArh_SF r
TotVArhImpQ1PhC acc32 TotVArh_SF r
TotVArhImpQ2 acc32 TotVArh_SF r
TotVArhImpQ2PhA acc32 TotVArh_SF r
TotVArhImpQ2PhB acc32 TotVArh_SF r
TotVArhImpQ2PhC acc32 TotVArh_SF r
TotVArhExpQ3 acc32 TotVArh_SF r
TotVArhExpQ3PhA acc32 TotVArh_SF r
TotVArhExpQ3PhB acc32 TotVArh_SF r
TotVArhExpQ3PhC acc32 TotVArh_SF r
TotVArhExpQ4 acc32 TotVArh_SF r
TotVArhExpQ4PhA acc32 TotVArh_SF r
TotVArhExpQ4PhB acc32 TotVArh_SF r
TotVArhExpQ4PhC acc32 TotVArh_SF r
TotVArh_SF sunssf - r
Evt bitfield32 - r
""",
}
# fmt: on
MODELS[202] = MODELS[203]
MODELS[204] = MODELS[203]
