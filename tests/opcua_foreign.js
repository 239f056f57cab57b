// Read, subscribe and order as another vendor's OPC UA client does: node opcua_foreign.js '{"endpoint": ...}'
// One JSON object a line on stdout: what it saw. Its library is found by NODE_PATH.
const told = JSON.parse(process.argv[2]);
const say = (kind, fields) => console.log(JSON.stringify({ kind, ...fields }));
const {
  OPCUAClient, MessageSecurityMode, SecurityPolicy, AttributeIds, DataType, UserTokenType, Variant, NodeId,
  TimestampsToReturn, ClientSubscription, ClientMonitoredItem,
} = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

async function main() {
  const manager = new OPCUACertificateManager({ rootFolder: told.pki, automaticallyAcceptUnknownCertificate: true });
  await manager.initialize();
  const secured = told.certificate !== "";
  const client = OPCUAClient.create({
    applicationUri: told.uri,
    endpointMustExist: false,
    securityMode: secured ? MessageSecurityMode.SignAndEncrypt : MessageSecurityMode.None,
    securityPolicy: secured ? SecurityPolicy.Basic256Sha256 : SecurityPolicy.None,
    certificateFile: secured ? told.certificate : undefined,
    privateKeyFile: secured ? told.key : undefined,
    clientCertificateManager: manager,
    connectionStrategy: { initialDelay: 200, maxDelay: 1000, maxRetry: told.retries },
    requestedSessionTimeout: 20000,
  });
  client.on("connection_lost", () => say("lost", {}));
  client.on("connection_reestablished", () => say("again", {}));
  await client.connect(told.endpoint);
  const login = told.user
    ? { type: UserTokenType.UserName, userName: told.user, password: told.password }
    : { type: UserTokenType.Anonymous };
  const session = await client.createSession(login);
  session.on("session_restored", () => say("restored", {}));
  const index = (await session.readNamespaceArray()).indexOf(told.namespace);
  const read = await session.read({ nodeId: `ns=${index};s=${told.node}`, attributeId: AttributeIds.Value });
  say("read", { value: Array.from(read.value.value ?? []), status: read.statusCode.name });
  const written = await session.write({
    nodeId: `ns=${index};s=${told.node}`, attributeId: AttributeIds.Value,
    value: { value: new Variant({ dataType: DataType.Double, arrayType: 1, value: [1e9] }) },
  });
  say("write", { status: written.name });
  if (told.order) {
    const called = await session.call({
      objectId: `ns=${index};s=Controller/Orders`,
      methodId: `ns=${index};s=Controller/Orders/SetLimit`,
      inputArguments: [
        { dataType: DataType.String, value: "foreign" }, { dataType: DataType.UInt32, value: 1 },
        { dataType: DataType.String, value: "head" }, { dataType: DataType.String, value: "import" },
        { dataType: DataType.Double, value: told.order }, { dataType: DataType.DateTime, value: null },
        { dataType: DataType.DateTime, value: null },
      ],
    });
    say("order", { status: called.statusCode.name, answer: (called.outputArguments ?? []).map((v) => v.value) });
  }
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: 100, requestedLifetimeCount: 100, requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 0,
  });
  const item = ClientMonitoredItem.create(
    subscription, { nodeId: `ns=${index};s=${told.node}`, attributeId: AttributeIds.Value },
    { samplingInterval: 100, discardOldest: true, queueSize: 1 }, TimestampsToReturn.Both,
  );
  item.on("changed", (data) => say("changed", { value: Array.from(data.value.value ?? []), status: data.statusCode.name }));
  process.stdin.on("end", async () => {
    await client.disconnect();
    process.exit(0);
  });
  process.stdin.resume();
}
main().catch((error) => {
  say("failed", { text: String(error.message).split("\n")[0] });
  process.exit(1);
});
