package cat

import "slices"

// Mask gives a copy of a proactive command as it came from the card, for traces and logs: the login and password of an
// OPEN CHANNEL or LAUNCH BROWSER are zeroed, lengths kept. Where one cannot be read to its end, or what it is cannot be
// read, all is zeroed, since a password may lie anywhere; so is what follows a command. Other commands stay as they are.
func Mask(command []byte) []byte {
	b := slices.Clone(command)
	if len(b) == 0 || b[0] != templateProactive {
		clear(b)
		return b
	}
	value, rest, err := splitLength(b[1:])
	if err != nil {
		value = afterLength(b[1:])
	}
	clear(rest) // another command, or what remains of one
	tlvs, tlvErr := ParseTLVs(value)
	named, secret := false, false
	for _, t := range tlvs { // each of them: which one counts is the terminal's choice
		if t.Tag == TagCommandDetails {
			named = true
			secret = secret || len(t.Value) != 3 || hasLogin(CommandType(t.Value[1]))
		}
	}
	switch {
	case named && !secret:
		return b
	case !named, err != nil, tlvErr != nil:
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

// hasLogin reports whether commands of the type may have a login and a password (clauses 6.6.26 and 6.6.27).
func hasLogin(t CommandType) bool { return t == TypeOpenChannel || t == TypeLaunchBrowser }

// publicTags are the objects of an OPEN CHANNEL that are shown: what is none of them may be a login or a password whose
// tag is wrong.
var publicTags = map[Tag]bool{
	TagCommandDetails: true, TagDeviceIdentities: true, TagAlphaIdentifier: true, TagIconIdentifier: true,
	TagBearerDescription: true, TagBufferSize: true, TagNetworkAccessName: true, TagOtherAddress: true,
	TagTransportLevel: true, TagTextAttribute: true, TagFrameIdentifier: true, TagDuration: true,
}
