package cat

import "fmt"

// CommandType is the type of a proactive command (clause 9.4).
type CommandType byte

const (
	TypeRefresh                 CommandType = 0x01
	TypeMoreTime                CommandType = 0x02
	TypePollInterval            CommandType = 0x03
	TypePollingOff              CommandType = 0x04
	TypeSetUpEventList          CommandType = 0x05
	TypeSetUpCall               CommandType = 0x10
	TypeSendSS                  CommandType = 0x11
	TypeSendUSSD                CommandType = 0x12
	TypeSendShortMessage        CommandType = 0x13
	TypeSendDTMF                CommandType = 0x14
	TypeLaunchBrowser           CommandType = 0x15
	TypeGeographicalLocation    CommandType = 0x16
	TypePlayTone                CommandType = 0x20
	TypeDisplayText             CommandType = 0x21
	TypeGetInkey                CommandType = 0x22
	TypeGetInput                CommandType = 0x23
	TypeSelectItem              CommandType = 0x24
	TypeSetUpMenu               CommandType = 0x25
	TypeProvideLocalInformation CommandType = 0x26
	TypeTimerManagement         CommandType = 0x27
	TypeSetUpIdleModeText       CommandType = 0x28
	TypePerformCardAPDU         CommandType = 0x30
	TypePowerOnCard             CommandType = 0x31
	TypePowerOffCard            CommandType = 0x32
	TypeGetReaderStatus         CommandType = 0x33
	TypeRunATCommand            CommandType = 0x34
	TypeLanguageNotification    CommandType = 0x35
	TypeOpenChannel             CommandType = 0x40
	TypeCloseChannel            CommandType = 0x41
	TypeReceiveData             CommandType = 0x42
	TypeSendData                CommandType = 0x43
	TypeGetChannelStatus        CommandType = 0x44
	TypeServiceSearch           CommandType = 0x45
	TypeGetServiceInformation   CommandType = 0x46
	TypeDeclareService          CommandType = 0x47
)

var commandNames = map[CommandType]string{
	TypeRefresh: "REFRESH", TypeMoreTime: "MORE TIME", TypePollInterval: "POLL INTERVAL", TypePollingOff: "POLLING OFF",
	TypeSetUpEventList: "SET UP EVENT LIST", TypeSetUpCall: "SET UP CALL", TypeSendSS: "SEND SS", TypeSendUSSD: "SEND USSD",
	TypeSendShortMessage: "SEND SHORT MESSAGE", TypeSendDTMF: "SEND DTMF", TypeLaunchBrowser: "LAUNCH BROWSER",
	TypeGeographicalLocation: "GEOGRAPHICAL LOCATION REQUEST", TypePlayTone: "PLAY TONE", TypeDisplayText: "DISPLAY TEXT",
	TypeGetInkey: "GET INKEY", TypeGetInput: "GET INPUT", TypeSelectItem: "SELECT ITEM", TypeSetUpMenu: "SET UP MENU",
	TypeProvideLocalInformation: "PROVIDE LOCAL INFORMATION", TypeTimerManagement: "TIMER MANAGEMENT",
	TypeSetUpIdleModeText: "SET UP IDLE MODE TEXT", TypePerformCardAPDU: "PERFORM CARD APDU", TypePowerOnCard: "POWER ON CARD",
	TypePowerOffCard: "POWER OFF CARD", TypeGetReaderStatus: "GET READER STATUS", TypeRunATCommand: "RUN AT COMMAND",
	TypeLanguageNotification: "LANGUAGE NOTIFICATION", TypeOpenChannel: "OPEN CHANNEL", TypeCloseChannel: "CLOSE CHANNEL",
	TypeReceiveData: "RECEIVE DATA", TypeSendData: "SEND DATA", TypeGetChannelStatus: "GET CHANNEL STATUS",
	TypeServiceSearch: "SERVICE SEARCH", TypeGetServiceInformation: "GET SERVICE INFORMATION", TypeDeclareService: "DECLARE SERVICE",
}

// Known reports whether the specification names the type.
func (t CommandType) Known() bool { _, ok := commandNames[t]; return ok }

func (t CommandType) String() string {
	if n, ok := commandNames[t]; ok {
		return n
	}
	return fmt.Sprintf("command type %02X", byte(t))
}

// DeviceID is a device identity (clause 8.7).
type DeviceID byte

const (
	DeviceKeypad   DeviceID = 0x01
	DeviceDisplay  DeviceID = 0x02
	DeviceEarpiece DeviceID = 0x03
	DeviceUICC     DeviceID = 0x81
	DeviceTerminal DeviceID = 0x82
	DeviceNetwork  DeviceID = 0x83
)

// MaxChannels is the highest channel identifier (clause 8.56: three bits, 0 = no channel).
const MaxChannels = 7

// DeviceChannel is the identity of BIP channel n, 1..7.
func DeviceChannel(n int) DeviceID { return DeviceID(0x20 + n) }

// Channel returns the BIP channel that the identity names, and false where it names none.
func (d DeviceID) Channel() (int, bool) {
	n := int(d) - 0x20
	return n, n >= 1 && n <= MaxChannels
}

func (d DeviceID) String() string {
	switch d {
	case DeviceKeypad:
		return "keypad"
	case DeviceDisplay:
		return "display"
	case DeviceEarpiece:
		return "earpiece"
	case DeviceUICC:
		return "UICC"
	case DeviceTerminal:
		return "terminal"
	case DeviceNetwork:
		return "network"
	}
	if n, ok := d.Channel(); ok {
		return fmt.Sprintf("channel %d", n)
	}
	return fmt.Sprintf("device %02X", byte(d))
}

// CommandDetails identifies a proactive command; its terminal response repeats it (clause 8.6).
type CommandDetails struct {
	Number    byte // 01..FE, chosen by the card
	Type      CommandType
	Qualifier byte
}

// DeviceIdentities names who sends a message and whom it is for (clause 8.7).
type DeviceIdentities struct {
	Source, Destination DeviceID
}

// EventCode is one event of an event list (clause 8.25).
type EventCode byte

const (
	EventMTCall            EventCode = 0x00
	EventCallConnected     EventCode = 0x01
	EventCallDisconnected  EventCode = 0x02
	EventLocationStatus    EventCode = 0x03
	EventUserActivity      EventCode = 0x04
	EventIdleScreen        EventCode = 0x05
	EventCardReaderStatus  EventCode = 0x06
	EventLanguageSelection EventCode = 0x07
	EventDataAvailable     EventCode = 0x09
	EventChannelStatus     EventCode = 0x0A
	EventAccessTechnology  EventCode = 0x0B
	EventNetworkRejection  EventCode = 0x12
	eventLastAssigned      EventCode = 0x1C // poll interval negotiation
)

var eventNames = map[EventCode]string{
	EventMTCall: "MT call", EventCallConnected: "Call connected", EventCallDisconnected: "Call disconnected",
	EventLocationStatus: "Location status", EventUserActivity: "User activity", EventIdleScreen: "Idle screen available",
	EventCardReaderStatus: "Card reader status", EventLanguageSelection: "Language selection", 0x08: "Browser termination",
	EventDataAvailable: "Data available", EventChannelStatus: "Channel status", EventAccessTechnology: "Access technology change",
	0x0C: "Display parameters changed", 0x0D: "Local connection", 0x0E: "Network search mode change", 0x0F: "Browsing status",
	0x10: "Frames information change", 0x11: "I-WLAN access status", EventNetworkRejection: "Network rejection",
	0x13: "HCI connectivity", 0x14: "Access technology change, multiple", 0x15: "CSG cell selection", 0x16: "Contactless state request",
	0x17: "IMS registration", 0x18: "Incoming IMS data", 0x19: "Profile container", 0x1B: "Secured profile container",
	0x1C: "Poll interval negotiation",
}

func (e EventCode) String() string {
	if n, ok := eventNames[e]; ok {
		return n
	}
	return fmt.Sprintf("event %02X", byte(e))
}
