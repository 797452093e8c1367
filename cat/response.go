package cat

import "net/netip"

// Response is a TERMINAL RESPONSE (clause 6.8). Its device identities are always terminal to UICC, also for a command to a channel.
type Response struct {
	Details CommandDetails // the command's, repeated
	Result  Result
	Objects []TLV // what follows the result, in order
}

// Respond makes the response to a command.
func Respond(c Command, r Result, objects ...TLV) Response {
	return Response{c.Details, r, objects}
}

// Append appends the data of a TERMINAL RESPONSE.
func (r Response) Append(dst []byte) []byte {
	dst = append(dst, 0x80|byte(TagCommandDetails), 3, r.Details.Number, byte(r.Details.Type), r.Details.Qualifier)
	dst = append(dst, byte(TagDeviceIdentities)|0x80, 2, byte(DeviceTerminal), byte(DeviceUICC))
	return AppendTLVs(AppendTLV(dst, r.Result.tlv()), r.Objects)
}

// ParseResponse reads the data of a TERMINAL RESPONSE.
func ParseResponse(b []byte) (Response, DeviceIdentities, error) {
	var r Response
	tlvs, err := ParseTLVs(b)
	if err != nil {
		return r, DeviceIdentities{}, err
	}
	var c Command
	if err := c.readFrame(tlvs); err != nil {
		return r, c.Devices, err
	}
	r.Details = c.Details
	for _, t := range tlvs {
		switch t.Tag {
		case TagCommandDetails, TagDeviceIdentities:
		case TagResult:
			if r.Result, err = parseResult(t.Value); err != nil {
				return r, c.Devices, err
			}
		default:
			r.Objects = append(r.Objects, t)
		}
	}
	if _, ok := Find(tlvs, TagResult); !ok {
		return r, c.Devices, valuesMissing("no result")
	}
	return r, c.Devices, nil
}

// MaxReceive is the number of data octets that fit one response to RECEIVE DATA: of 255 octets 5 go to the command
// details, 4 to the device identities, 3 to the result, 3 to the data's own tag and length and 3 to the channel data length.
const MaxReceive = 255 - 5 - 4 - 3 - 3 - 3

// ChannelStatusObject is the channel status in the response to OPEN CHANNEL (clause 6.8).
func ChannelStatusObject(s ChannelStatus) TLV { return s.tlv(false) }

// ChannelStatusListObject is a channel status in the response to GET CHANNEL STATUS.
func ChannelStatusListObject(s ChannelStatus) TLV { return s.tlv(true) }

// BearerObject is the bearer description as granted.
func BearerObject(b BearerDescription) TLV { return b.tlv() }

// BufferSizeObject is the buffer size as granted, in octets.
func BufferSizeObject(n uint16) TLV { return bufferSizeTLV(n) }

// ChannelDataObject carries received data.
func ChannelDataObject(b []byte) TLV { return TLV{TagChannelData, true, b} }

// ChannelDataLengthObject tells n octets: free in the Tx buffer after SEND DATA, left in the Rx buffer after RECEIVE DATA.
func ChannelDataLengthObject(n int) TLV {
	return TLV{TagChannelDataLength, true, []byte{dataLength(n)}}
}

// DNSServerObject names a DNS server (clause 8.111).
func DNSServerObject(a netip.Addr) TLV {
	t := addressTLV(TagDNSServerAddress, a)
	t.CR = true
	return t
}
