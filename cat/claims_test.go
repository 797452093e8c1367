package cat

import (
	"slices"
	"testing"
)

// The profile is what is claimed, and each claim names the types of its handler.
func TestClaims(t *testing.T) {
	s := NewSession(nil, Config{})
	s.Handle(HandlerFunc(nil, FacilityDisplayText, FacilityNoKeypad), TypeDisplayText, TypeSetUpIdleModeText)
	claims := s.Claims()
	first, last := claims[0], claims[len(claims)-1]
	if first.Types != nil || slices.Contains(first.Facilities, FacilityNoDisplay) || !slices.Contains(first.Facilities, FacilityProfileDownload) {
		t.Errorf("the session's own claim %v", first)
	}
	if !slices.Equal(last.Types, []CommandType{TypeDisplayText, TypeSetUpIdleModeText}) || !slices.Contains(last.Facilities, FacilityDisplayText) {
		t.Errorf("the handler's claim %v", last)
	}
	var all []Facility
	for _, c := range claims {
		all = append(all, c.Facilities...)
	}
	if !slices.Equal(Profile(all...), s.Profile()) {
		t.Errorf("profile %X is not what is claimed: %v", s.Profile(), all)
	}
	if own := NewSession(nil, Config{}).Claims()[0].Facilities; !slices.Contains(own, FacilityNoDisplay) {
		t.Errorf("without a display: %v", own)
	}
}
