package cat

import "slices"

// claim is a registered handler with the types it answers.
type claim struct {
	handler Handler
	types   []CommandType
}

// Claim is what one part of a session makes the TERMINAL PROFILE say.
type Claim struct {
	Types      []CommandType // that the part answers; none: it is the session as a whole
	Facilities []Facility
}

// Claims lists who claims which bits of the TERMINAL PROFILE: the session, then the handlers in the order of their
// registration. Who shows texts has a display.
func (s *Session) Claims() []Claim {
	own := append([]Facility{FacilityProfileDownload, FacilityCommandResult, FacilityNoKeypad}, s.facilities...)
	list := []Claim{{}}
	display := slices.Contains(own, FacilityDisplayText)
	for _, c := range s.claims {
		f := c.handler.Facilities()
		display = display || slices.Contains(f, FacilityDisplayText)
		list = append(list, Claim{slices.Clone(c.types), f})
	}
	if !display {
		own = append(own, FacilityNoDisplay)
	}
	list[0].Facilities = own
	return list
}

// Profile is the data of the TERMINAL PROFILE: what the registered handlers claim, and nothing else.
func (s *Session) Profile() []byte {
	var f []Facility
	for _, c := range s.Claims() {
		f = append(f, c.Facilities...)
	}
	return Profile(f...)
}
