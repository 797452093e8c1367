package cat

import (
	"context"
	"time"
)

// LocalInfo answers PROVIDE LOCAL INFORMATION (clause 6.4.15) of a terminal without a radio: from configuration and the clock.
type LocalInfo struct {
	IMEI     string          // 15 digits; empty = none is told
	IMEISV   string          // 16 digits; empty = none is told
	Location func() Location // nil = no service, ever
	Language string          // two letters (ISO 639); empty = none is told
	Now      func() time.Time
}

// Facilities are the bits of the TERMINAL PROFILE that the configured values make true.
func (l *LocalInfo) Facilities() []Facility {
	f := []Facility{FacilityLocalInformation, FacilityDateTime}
	if l.Language != "" {
		f = append(f, FacilityLanguage)
	}
	return f
}

// Handle answers the command; qualifiers for which there is nothing to tell are beyond the terminal's capabilities.
func (l *LocalInfo) Handle(_ context.Context, c Command) Answer {
	return Answer{Response: l.respond(c)}
}

func (l *LocalInfo) respond(c Command) Response {
	switch q := c.Details.Qualifier; {
	case q == LocalLocation:
		return l.location(c)
	case q == LocalIMEI && l.IMEI != "":
		return Respond(c, OK, TLV{TagIMEI, true, identity(l.IMEI)})
	case q == LocalIMEISV && l.IMEISV != "":
		return Respond(c, OK, TLV{TagIMEISV, true, identity(l.IMEISV)})
	case q == LocalDateTime:
		return Respond(c, OK, TLV{TagDateTimeZone, true, dateTime(l.Now())})
	case q == LocalLanguage && l.Language != "":
		return Respond(c, OK, TLV{TagLanguage, true, []byte(l.Language)})
	}
	return Respond(c, Result{General: ResultBeyondCapabilities})
}

// location tells where the terminal is: with the result limited service where that is all there is, and not at all without service.
func (l *LocalInfo) location(c Command) Response {
	where := Location{Status: LocationNoService}
	if l.Location != nil {
		where = l.Location()
	}
	switch where.Status {
	case LocationNormal:
		return Respond(c, OK, TLV{TagLocationInfo, true, where.Info})
	case LocationLimited:
		return Respond(c, Result{General: ResultLimitedService}, TLV{TagLocationInfo, true, where.Info})
	}
	return Respond(c, Result{ResultTerminalUnable, []byte{InfoNoService}})
}

// identity codes the digits of an IMEI (type 2) or IMEISV (type 3) as 3GPP TS 24.008 clause 10.5.1.4 has it: the first
// digit shares its octet with the type and the odd/even bit.
func identity(digits string) []byte {
	kind, odd := byte(0x02), len(digits)%2 == 1
	if !odd {
		kind = 0x03
	}
	first := (digits[0]-'0')<<4 | kind
	if odd {
		first |= 0x08
	}
	v := []byte{first}
	for i := 1; i < len(digits); i += 2 {
		hi := byte(0x0F)
		if i+1 < len(digits) {
			hi = digits[i+1] - '0'
		}
		v = append(v, hi<<4|(digits[i]-'0'))
	}
	return v
}

// dateTime codes a time with its zone (clause 8.39): seven octets with swapped digits, the zone in quarters of an hour, bit 4 its sign.
func dateTime(t time.Time) []byte {
	_, offset := t.Zone()
	quarters, sign := offset/900, byte(0)
	if quarters < 0 {
		quarters, sign = -quarters, 0x08
	}
	return []byte{swap(t.Year() % 100), swap(int(t.Month())), swap(t.Day()), swap(t.Hour()), swap(t.Minute()), swap(t.Second()), swap(quarters) | sign}
}
