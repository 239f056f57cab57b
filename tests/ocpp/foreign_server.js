// A central system on npm's ocpp-rpc in strict mode: every message is checked against that package's own schemas.
// Prints one line of JSON for the port and each message; tells the charge point a limit once its car charges.
const { RPCServer } = require('ocpp-rpc');

const say = (kind, body) => console.log(JSON.stringify({ kind, ...body }));
const now = () => new Date().toISOString();
const answers = {
  BootNotification: () => ({ status: 'Accepted', interval: 300, currentTime: now() }),
  Heartbeat: () => ({ currentTime: now() }),
  StartTransaction: () => ({ transactionId: 1, idTagInfo: { status: 'Accepted' } }),
};
const period = { startPeriod: 0, limit: 10.4 };
const schedule = { startSchedule: '2026-01-01T00:00:00Z', chargingRateUnit: 'A', chargingSchedulePeriod: [period] };
const head = { stackLevel: 1, chargingProfilePurpose: 'TxDefaultProfile', chargingProfileKind: 'Absolute' };
const orders = {
  'ocpp1.6': [
    ['ChangeConfiguration', { key: 'MeterValuesSampledData', value: 'Current.Import,Voltage,Power.Active.Import' }],
    ['TriggerMessage', { requestedMessage: 'MeterValues', connectorId: 1 }],
    ['SetChargingProfile', {
      connectorId: 1, csChargingProfiles: { chargingProfileId: 1, ...head, chargingSchedule: schedule } }],
    ['GetCompositeSchedule', { connectorId: 1, duration: 60, chargingRateUnit: 'A' }],
    ['GetConfiguration', {}],
  ],
  'ocpp2.0.1': [
    ['SetVariables', { setVariableData: [{ component: { name: 'AlignedDataCtrlr' }, variable: { name: 'Measurands' },
      attributeValue: 'Current.Import,Voltage,Power.Active.Import' }] }],
    ['TriggerMessage', { requestedMessage: 'MeterValues', evse: { id: 1 } }],
    ['TriggerMessage', { requestedMessage: 'TransactionEvent', evse: { id: 1 } }],
    ['SetChargingProfile', {
      evseId: 1, chargingProfile: { id: 1, ...head, chargingSchedule: [{ id: 1, ...schedule }] } }],
    ['GetCompositeSchedule', { evseId: 1, duration: 60, chargingRateUnit: 'A' }],
    ['GetChargingProfiles', { requestId: 1, chargingProfile: { chargingProfilePurpose: 'TxDefaultProfile' } }],
    ['GetVariables', { getVariableData: [
      { component: { name: 'SmartChargingCtrlr' }, variable: { name: 'RateUnit' } }] }],
  ],
};

async function command(client) {
  for (const [method, params] of orders[client.protocol]) {
    const result = await client.call(method, params);
    say('result', { method, result });
  }
}

const server = new RPCServer({ protocols: Object.keys(orders), strictMode: true });
server.on('client', (client) => {
  let begun = false;
  client.on('strictValidationFailure', (event) => say('broken', { text: String(event.error && event.error.message) }));
  client.handle(({ method, params }) => {
    say('call', { method, params });
    if (!begun && (method === 'StatusNotification')) {
      begun = true;
      setTimeout(() => command(client).catch((error) => say('failed', { text: String(error) })), 50);
    }
    return (answers[method] || (() => ({})))();
  });
});
server.listen(0, '127.0.0.1').then((http) => say('port', { port: http.address().port }));
