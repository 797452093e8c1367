package cat

import "fmt"

// Envelope is what the terminal tells the card with ENVELOPE: a template of data objects (clause 7).
type Envelope struct {
	Tag     byte
	Objects []TLV
}

// Append appends the envelope's BER-TLV.
func (e Envelope) Append(dst []byte) []byte {
	return appendTemplate(dst, e.Tag, AppendTLVs(nil, e.Objects))
}

// ParseEnvelope reads an envelope's BER-TLV.
func ParseEnvelope(b []byte) (Envelope, error) {
	tag, value, err := parseTemplate(b)
	if err != nil {
		return Envelope{}, err
	}
	if tag < 0xD1 || tag > 0xDF {
		return Envelope{}, fmt.Errorf("cat: %02X is no envelope template", tag)
	}
	tlvs, err := ParseTLVs(value)
	return Envelope{tag, tlvs}, err
}

// Event returns the event that an EVENT DOWNLOAD envelope brings (clause 7.5), and false for any other envelope.
func (e Envelope) Event() (EventCode, bool) {
	if e.Tag != templateEventDownload {
		return 0, false
	}
	t, ok := Find(e.Objects, TagEventList)
	if !ok || len(t.Value) != 1 {
		return 0, false
	}
	return EventCode(t.Value[0]), true
}

func (e Envelope) String() string {
	switch e.Tag {
	case templateTimerExpiration:
		return "ENVELOPE: Timer expiration"
	case templateSMSPPDownload:
		return "ENVELOPE: SMS-PP download"
	case templateMenuSelection:
		return "ENVELOPE: Menu selection"
	}
	if ev, ok := e.Event(); ok {
		return "ENVELOPE: " + ev.String()
	}
	return fmt.Sprintf("ENVELOPE %02X", e.Tag)
}

func devicesTLV(source, destination DeviceID) TLV {
	return TLV{TagDeviceIdentities, true, []byte{byte(source), byte(destination)}}
}

func event(code EventCode, objects ...TLV) Envelope {
	return Envelope{templateEventDownload, append([]TLV{eventListTLV(code), devicesTLV(DeviceTerminal, DeviceUICC)}, objects...)}
}

// DataAvailableEvent tells that n octets of a channel wait for RECEIVE DATA (clause 7.5.10).
func DataAvailableEvent(s ChannelStatus, n int) Envelope {
	return event(EventDataAvailable, s.tlv(true), ChannelDataLengthObject(n))
}

// ChannelStatusEvent tells of a change that no command of the card caused (clause 7.5.11).
func ChannelStatusEvent(s ChannelStatus) Envelope {
	return event(EventChannelStatus, s.tlv(true))
}

// Values of a Location status (clause 8.27).
const (
	LocationNormal    byte = 0x00
	LocationLimited   byte = 0x01
	LocationNoService byte = 0x02
)

// LocationStatusEvent tells the state of service (clause 7.5.4); info, the location information (clause 8.19), goes with normal service only.
func LocationStatusEvent(status byte, info []byte) Envelope {
	objects := []TLV{{TagLocationStatus, true, []byte{status}}}
	if status == LocationNormal && len(info) > 0 {
		objects = append(objects, TLV{TagLocationInfo, true, info})
	}
	return event(EventLocationStatus, objects...)
}

// TimerExpirationEnvelope tells that a timer ran out (clause 7.4).
func TimerExpirationEnvelope(timer byte, v TimerValue) Envelope {
	return Envelope{templateTimerExpiration, []TLV{
		devicesTLV(DeviceTerminal, DeviceUICC), {TagTimerIdentifier, true, []byte{timer}}, v.tlv(),
	}}
}

// EventEnvelope tells of any event, with the objects that its clause wants after the device identities (clause 7.5). A network
// rejection comes from the network, all others from the terminal.
func EventEnvelope(code EventCode, objects ...TLV) Envelope {
	e := event(code, objects...)
	if code == EventNetworkRejection {
		e.Objects[1] = devicesTLV(DeviceNetwork, DeviceUICC)
	}
	return e
}

// MenuSelectionEnvelope tells that the user chose an item of the card's menu, or asked for help about it (clause 7.2).
func MenuSelectionEnvelope(item byte, help bool) Envelope {
	objects := []TLV{devicesTLV(DeviceKeypad, DeviceUICC), ItemIdentifierObject(item)}
	if help {
		objects = append(objects, TLV{TagHelpRequest, true, nil})
	}
	return Envelope{templateMenuSelection, objects}
}

// SMSPPDownloadEnvelope hands the card a short message (3GPP TS 31.111 clause 7.1.1): the service centre's address and an
// SMS-DELIVER.
func SMSPPDownloadEnvelope(centre Address, tpdu []byte) Envelope {
	return Envelope{templateSMSPPDownload, []TLV{
		devicesTLV(DeviceNetwork, DeviceUICC), centre.tlv(false), {TagSMSTPDU, true, tpdu},
	}}
}
