// A charge point on npm's ocpp-rpc in strict mode: every message is checked against that package's own schemas.
// Arguments: URL without the identity, identity, subprotocol. Prints one line of JSON for each call that it gets.
const { RPCClient } = require('ocpp-rpc');

const [endpoint, identity, protocol] = process.argv.slice(2);
const old = protocol === 'ocpp1.6';
const say = (kind, body) => console.log(JSON.stringify({ kind, ...body }));
const now = () => new Date().toISOString();
const client = new RPCClient({
  endpoint, identity, protocols: [protocol], strictMode: true, reconnect: false, callTimeoutMs: 60000 });
const profiles = new Map();

const scheduleOf = (profile) => (old ? profile.chargingSchedule : profile.chargingSchedule[0]);
const inForce = () => [...profiles.values()].sort((a, b) => b.stackLevel - a.stackLevel)[0];
const limitOf = () => (inForce() ? scheduleOf(inForce()).chargingSchedulePeriod[0].limit : 32);

function composite({ duration }) {
  const inner = {
    duration, chargingRateUnit: 'A', chargingSchedulePeriod: [{ startPeriod: 0, limit: limitOf(), numberPhases: 3 }] };
  return old
    ? { status: 'Accepted', connectorId: 1, scheduleStart: now(), chargingSchedule: inner }
    : { status: 'Accepted', schedule: { ...inner, evseId: 1, scheduleStart: now() } };
}

const values = {
  ChargeProfileMaxStackLevel: '8', ChargingScheduleAllowedChargingRateUnit: 'Current', ProfileStackLevel: '8',
  RateUnit: 'A' };
const answers = {
  SetChargingProfile: ({ csChargingProfiles, chargingProfile }) => {
    const profile = csChargingProfiles || chargingProfile;
    profiles.set(old ? profile.chargingProfileId : profile.id, profile);
    return { status: 'Accepted' };
  },
  ClearChargingProfile: () => ({ status: 'Unknown' }),
  GetCompositeSchedule: composite,
  GetConfiguration: ({ key = [] }) => ({
    configurationKey: key.filter((k) => k in values).map((k) => ({ key: k, readonly: true, value: values[k] })) }),
  ChangeConfiguration: () => ({ status: 'Accepted' }),
  TriggerMessage: () => ({ status: 'NotImplemented' }),
  GetVariables: ({ getVariableData }) => ({
    getVariableResult: getVariableData.map(({ component, variable }) => (variable.name in values
      ? { component, variable, attributeStatus: 'Accepted', attributeValue: values[variable.name] }
      : { component, variable, attributeStatus: 'UnknownVariable' })) }),
  SetVariables: ({ setVariableData }) => ({
    setVariableResult: setVariableData.map(({ component, variable }) => ({
      component, variable, attributeStatus: 'Accepted' })) }),
};

client.on('strictValidationFailure', (event) => say('broken', { text: String(event.error && event.error.message) }));
client.handle(({ method, params }) => {
  say('call', { method, params });
  if (!(method in answers)) throw new Error(`no answer to ${method}`);
  return answers[method](params);
});

const sampled = (measurand, phase, value, unit) => (old
  ? { measurand, phase, value: String(value), unit }
  : { measurand, phase, value, unitOfMeasure: { unit } });
const meterValue = () => [{
  timestamp: now(),
  sampledValue: ['L1', 'L2', 'L3'].flatMap((phase) => [
    sampled('Current.Import', phase, limitOf(), 'A'), sampled('Voltage', phase, 231, 'V')]) }];

async function live() {
  await client.connect();
  const boot = await client.call('BootNotification', old
    ? { chargePointVendor: 'Foreign', chargePointModel: 'Rpc' }
    : { reason: 'PowerUp', chargingStation: { vendorName: 'Foreign', model: 'Rpc' } });
  say('boot', { status: boot.status });
  await client.call('StatusNotification', old
    ? { connectorId: 1, errorCode: 'NoError', status: 'Charging' }
    : { timestamp: now(), connectorStatus: 'Occupied', evseId: 1, connectorId: 1 });
  if (old) {
    const begun = await client.call('StartTransaction', { connectorId: 1, idTag: 'tag', meterStart: 0, timestamp: now() });
    say('transaction', { id: begun.transactionId });
  } else {
    await client.call('TransactionEvent', {
      eventType: 'Started', timestamp: now(), triggerReason: 'CablePluggedIn', seqNo: 0, evse: { id: 1, connectorId: 1 },
      transactionInfo: { transactionId: 't1', chargingState: 'Charging' } });
    say('transaction', { id: 't1' });
  }
  for (;;) {
    await client.call('MeterValues', old ? { connectorId: 1, meterValue: meterValue() } : { evseId: 1, meterValue: meterValue() });
    await new Promise((resolve) => { setTimeout(resolve, 200); });
  }
}

live().catch((error) => { say('failed', { text: String(error) }); process.exit(1); });
