package cat

// commandSpec is what the specification says of one type of command, as far as it can be checked by a table.
type commandSpec struct {
	clause    string     // of its objects, and of the bits of its qualifier (all are in 8.6)
	to        []DeviceID // destinations; none: not checked
	reserved  byte       // bits of the qualifier that are RFU
	highest   byte       // of the qualifier where it is a number; 0: it is not one
	mandatory []Tag      // objects that must be there in every form of the command
	optional  []Tag      // objects that may be there, beside those that every shown command may have
}

// shown are the objects by which a command says what the user is to see.
var shown = []Tag{TagAlphaIdentifier, TagIconIdentifier, TagTextAttribute, TagFrameIdentifier}

// Destinations.
var (
	toTerminal = []DeviceID{DeviceTerminal}
	toDisplay  = []DeviceID{DeviceDisplay}
	toEarpiece = []DeviceID{DeviceEarpiece}
	toNetwork  = []DeviceID{DeviceNetwork}
	toReader   = []DeviceID{0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17}
	toChannel  = []DeviceID{0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27}
)

// Tags of objects that are only named (clause 9.3).
const (
	tagCapability     Tag = 0x07
	tagSSString       Tag = 0x09
	tagUSSDString     Tag = 0x0A
	tagTone           Tag = 0x0E
	tagResponseLength Tag = 0x11
	tagDefaultText    Tag = 0x17
	tagCAPDU          Tag = 0x22
	tagATCommand      Tag = 0x28
	tagDTMF           Tag = 0x2C
	tagBrowserID      Tag = 0x30
	tagURL            Tag = 0x31
	tagBearerList     Tag = 0x32
	tagProvisioning   Tag = 0x33
	tagCDMATPDU       Tag = 0x48
)

// commandSpecs are the types whose objects are known here. Clauses are those of ETSI TS 102 223.
var commandSpecs = map[CommandType]commandSpec{
	TypeDisplayText: {clause: "6.6.1", to: toDisplay, reserved: 0x7E, mandatory: []Tag{TagTextString}, optional: []Tag{TagImmediateResponse, TagDuration}},
	TypeGetInkey:    {clause: "6.6.2", to: toTerminal, reserved: 0x70, mandatory: []Tag{TagTextString}, optional: []Tag{TagDuration}},
	TypeGetInput: {clause: "6.6.3", to: toTerminal, reserved: 0x70, mandatory: []Tag{TagTextString, tagResponseLength},
		optional: []Tag{tagDefaultText, TagDuration}},
	TypeMoreTime:     {clause: "6.6.4", to: toTerminal, reserved: 0xFF},
	TypePlayTone:     {clause: "6.6.5", to: toEarpiece, reserved: 0xFE, optional: []Tag{tagTone, TagDuration}},
	TypePollInterval: {clause: "6.6.6", to: toTerminal, reserved: 0xFF, mandatory: []Tag{TagDuration}},
	TypeSetUpMenu: {clause: "6.6.7", to: toTerminal, reserved: 0x7E, mandatory: []Tag{TagAlphaIdentifier, TagItem},
		optional: []Tag{TagItemsNextAction, TagItemIconList, TagItemTextAttributes}},
	TypeSelectItem: {clause: "6.6.8", to: toTerminal, reserved: 0x78, mandatory: []Tag{TagItem},
		optional: []Tag{TagItemsNextAction, TagItemIdentifier, TagItemIconList, TagItemTextAttributes}},
	TypeSendShortMessage: {clause: "6.6.9", to: toNetwork, reserved: 0xFE, optional: []Tag{TagAddress, TagSMSTPDU, tagCDMATPDU}},
	TypeSendSS:           {clause: "6.6.10", to: toNetwork, reserved: 0xFF, mandatory: []Tag{tagSSString}},
	TypeSendUSSD:         {clause: "6.6.11", to: toNetwork, reserved: 0xFF, mandatory: []Tag{tagUSSDString}},
	TypeSetUpCall: {clause: "6.6.12", to: toNetwork, highest: 0x05,
		optional: []Tag{TagAddress, tagURL, tagCapability, TagSubaddress, TagDuration}},
	TypeRefresh:                 {clause: "6.6.13", to: toTerminal, highest: 0x0B, optional: []Tag{TagFileList, TagAID}},
	TypePollingOff:              {clause: "6.6.14", to: toTerminal, reserved: 0xFF},
	TypeProvideLocalInformation: {clause: "6.6.15", to: toTerminal, highest: 0x1F},
	TypeSetUpEventList:          {clause: "6.6.16", to: toTerminal, reserved: 0xFF, mandatory: []Tag{TagEventList}},
	TypePerformCardAPDU:         {clause: "6.6.17", to: toReader, reserved: 0xFF, mandatory: []Tag{tagCAPDU}},
	TypePowerOffCard:            {clause: "6.6.18", to: toReader, reserved: 0xFF},
	TypePowerOnCard:             {clause: "6.6.19", to: toReader, reserved: 0xFF},
	TypeGetReaderStatus:         {clause: "6.6.20", to: append([]DeviceID{DeviceTerminal}, toReader...), highest: 0x01},
	TypeTimerManagement:         {clause: "6.6.21", to: toTerminal, reserved: 0xFC, mandatory: []Tag{TagTimerIdentifier}, optional: []Tag{TagTimerValue}},
	TypeSetUpIdleModeText:       {clause: "6.6.22", to: toTerminal, reserved: 0xFF, mandatory: []Tag{TagTextString}},
	TypeRunATCommand:            {clause: "6.6.23", to: toTerminal, reserved: 0xFF, mandatory: []Tag{tagATCommand}},
	TypeSendDTMF:                {clause: "6.6.24", to: toNetwork, reserved: 0xFF, mandatory: []Tag{tagDTMF}},
	TypeLanguageNotification:    {clause: "6.6.25", to: toTerminal, reserved: 0xFE, optional: []Tag{TagLanguage}},
	TypeLaunchBrowser: {clause: "6.6.26", to: toTerminal, highest: 0x03, mandatory: []Tag{tagURL},
		optional: []Tag{tagBrowserID, tagBearerList, tagProvisioning, TagTextString, TagNetworkAccessName}},
	TypeOpenChannel: {clause: "6.6.27", to: toTerminal, reserved: 0xF0, mandatory: []Tag{TagBufferSize},
		optional: []Tag{TagBearerDescription, TagNetworkAccessName, TagOtherAddress, TagTextString, TagTransportLevel, TagAddress, TagSubaddress, TagDuration}},
	TypeCloseChannel:     {clause: "6.6.28", to: toChannel, reserved: 0xFE},
	TypeReceiveData:      {clause: "6.6.29", to: toChannel, reserved: 0xFF, mandatory: []Tag{TagChannelDataLength}},
	TypeSendData:         {clause: "6.6.30", to: toChannel, reserved: 0xFE, mandatory: []Tag{TagChannelData}},
	TypeGetChannelStatus: {clause: "6.6.31", to: toTerminal, reserved: 0xFF},
}

// objectNames are for people.
var objectNames = map[Tag]string{
	TagCommandDetails: "command details", TagDeviceIdentities: "device identities", TagResult: "result", TagDuration: "duration",
	TagAlphaIdentifier: "alpha identifier", TagAddress: "address", TagSubaddress: "subaddress", TagSMSTPDU: "SMS TPDU",
	TagTextString: "text string", TagFileList: "file list", TagEventList: "event list", TagIconIdentifier: "icon identifier",
	TagTimerIdentifier: "timer identifier", TagTimerValue: "timer value", TagLanguage: "language", TagAID: "AID",
	TagBearerDescription: "bearer description", TagChannelData: "channel data", TagChannelDataLength: "channel data length",
	TagChannelStatus: "channel status", TagBufferSize: "buffer size", TagTransportLevel: "UICC/terminal interface transport level",
	TagOtherAddress: "other address", TagDNSServerAddress: "DNS server address", TagNetworkAccessName: "network access name",
	TagTextAttribute: "text attribute", TagFrameIdentifier: "frame identifier", TagLocationInfo: "location information",
	TagIMEI: "IMEI", TagIMEISV: "IMEISV", TagDateTimeZone: "date, time and time zone", TagAccessTechnology: "access technology",
	tagCapability: "capability configuration parameters", tagSSString: "SS string", tagUSSDString: "USSD string", tagTone: "tone",
	TagItem: "item", TagItemIdentifier: "item identifier", tagResponseLength: "response length", tagDefaultText: "default text",
	TagItemsNextAction: "items next action indicator", TagItemIconList: "item icon identifier list", tagCAPDU: "C-APDU",
	tagATCommand: "AT command", TagImmediateResponse: "immediate response", tagDTMF: "DTMF string", tagBrowserID: "browser identity",
	tagURL: "URL", tagBearerList: "bearer", tagProvisioning: "provisioning file reference", tagCDMATPDU: "CDMA SMS TPDU",
	TagItemTextAttributes: "item text attribute list",
}
