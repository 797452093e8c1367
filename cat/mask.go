package cat

import "slices"

// Mask gives a copy of a proactive command as it came from the card, for traces and logs: the login and password of an
// OPEN CHANNEL are zeroed, lengths kept. Where one cannot be read to its end, or what it is cannot be read, all is zeroed,
// since a password may lie anywhere. Other commands stay as they are.
func Mask(command []byte) []byte {
	b := slices.Clone(command)
	if len(b) == 0 || b[0] != templateProactive {
		clear(b)
		return b
	}
	_, value, err := parseTemplate(b)
	if err != nil {
		value = afterLength(b[1:])
	}
	tlvs, tlvErr := ParseTLVs(value)
	details, ok := Find(tlvs, TagCommandDetails)
	switch {
	case ok && len(details.Value) == 3 && CommandType(details.Value[1]) != TypeOpenChannel:
		return b
	case !ok, err != nil, tlvErr != nil:
		clear(b[1:])
		return b
	}
	for _, t := range tlvs {
		if !publicTags[t.Tag] {
			clear(t.Value)
		}
	}
	return b
}

// publicTags are the objects of an OPEN CHANNEL that are shown: what is none of them may be a login or a password whose
// tag is wrong.
var publicTags = map[Tag]bool{
	TagCommandDetails: true, TagDeviceIdentities: true, TagAlphaIdentifier: true, TagIconIdentifier: true,
	TagBearerDescription: true, TagBufferSize: true, TagNetworkAccessName: true, TagOtherAddress: true,
	TagTransportLevel: true, TagTextAttribute: true, TagFrameIdentifier: true, TagDuration: true,
}
