package softuicc

// profileArrived judges a TERMINAL PROFILE by itself (clause 5.2); what is answered later is held against it.
func (j *judge) profileArrived(apdu, profile []byte, inSession bool) {
	j.apdu = apdu
	if inSession {
		j.violate("6.1", "TERMINAL PROFILE between FETCH and TERMINAL RESPONSE")
	}
	p := Profile(profile)
	j.profile, j.profiled = append(Profile(nil), p...), true
	if allOnes(p) {
		j.violate("5.2", "TERMINAL PROFILE has every bit set: it offers what no terminal does")
		return
	}
	if !p.Has(1, 1) {
		j.violate("5.2", "TERMINAL PROFILE denies profile download, of which it is a part (octet 1, bit 1)")
	}
	if p.Has(14, 6) && p[13]&0x1F != 0 {
		j.violate("5.2", "TERMINAL PROFILE says that there is no display, and how many characters it shows (octet 14)")
	}
	if p.Has(14, 7) && (p.Has(3, 2) || p.Has(3, 3)) {
		j.violate("5.2", "TERMINAL PROFILE says that there is no keypad, and offers GET INKEY or GET INPUT")
	}
	if p.Has(8, 1) != p.Has(8, 2) {
		j.violate("5.2", "TERMINAL PROFILE offers one half of TIMER MANAGEMENT (octet 8, bits 1 and 2)")
	}
	j.channelProfile(p)
}

func (j *judge) channelProfile(p Profile) {
	open := p.Has(12, 1)
	for bit := 2; bit <= 4; bit++ {
		if p.Has(12, bit) != open {
			j.violate("5.2", "TERMINAL PROFILE offers one of OPEN CHANNEL and %s without the other (octet 12)", commandNames[byte(0x3F+bit)])
		}
	}
	if open != (p.Channels() > 0) {
		j.violate("5.2", "TERMINAL PROFILE: OPEN CHANNEL and the number of channels, %d, contradict each other (octets 12 and 13)", p.Channels())
	}
}

func allOnes(p Profile) bool {
	for _, b := range p {
		if b != 0xFF {
			return false
		}
	}
	return len(p) > 8
}

// bearerBits says where the profile offers a bearer. The default bearer has no bit.
var bearerBits = map[byte][]profileBit{
	0x01: {{13, 1}}, 0x02: {{13, 2}}, 0x03: nil, 0x09: {{22, 1}}, 0x0A: {{30, 1}, {33, 7}}, 0x0B: {{17, 7}},
}

// offersOpen reports whether the profile offers what an OPEN CHANNEL asks for; true for any other command.
func (j *judge) offersOpen(m *judged) bool {
	if m.kind() != typeOpen {
		return true
	}
	if m.transport == transportServer {
		return j.offersTransport(m.transport)
	}
	bits, known := bearerBits[m.bearer]
	offered := known && len(bits) == 0
	for _, at := range bits {
		offered = offered || j.profile.Has(at.octet, at.bit)
	}
	if m.qualifier()&openDNS != 0 {
		return offered && j.profile.Has(33, 1)
	}
	return offered && j.offersTransport(m.transport)
}

func (j *judge) offersTransport(t byte) bool {
	bits := [...]int{transportTCP: 1, transportUDP: 2, transportServer: 3, 0x04: 5, 0x05: 4, 0x06: 6}
	return int(t) < len(bits) && bits[t] > 0 && j.profile.Has(17, bits[t])
}
