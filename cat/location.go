package cat

import "bytes"

// Location is what service the terminal has, and where.
type Location struct {
	Status byte   // LocationNormal, LocationLimited or LocationNoService (clause 8.27)
	Info   []byte // location information (clause 8.19): MCC and MNC, LAC or TAC, cell identity; told unless there is no service
}

// Fixed is a place and a service that never change.
func (l Location) Fixed() func() Location { return func() Location { return l } }

func (l Location) equal(o Location) bool { return l.Status == o.Status && bytes.Equal(l.Info, o.Info) }

// LocationService tells the card by the event Location status (clause 7.5.4), if it has asked for that, what service there is: once
// at first, and then whenever it has changed.
type LocationService struct {
	session *Session
	where   func() Location
	told    *Location // nil: nothing yet
}

// NewLocationService makes the source of the event and registers it. where is asked on the goroutine that owns the card; who changes
// what it says calls Session.Wake. nil = no service, ever.
func NewLocationService(s *Session, where func() Location) *LocationService {
	if where == nil {
		where = Location{Status: LocationNoService}.Fixed()
	}
	l := &LocationService{session: s, where: where}
	s.AddSource(l)
	s.Claim(FacilityLocationStatus)
	return l
}

// NextEvent is due while the card, which has subscribed, was told another thing last. A change that was taken back before the card
// could be told of it is not told.
func (l *LocationService) NextEvent() (Due, bool) {
	if !l.session.Subscribed(EventLocationStatus) {
		return Due{}, false
	}
	now := l.where()
	if l.told != nil && now.equal(*l.told) {
		return Due{}, false
	}
	return Due{Envelope: LocationStatusEvent(now.Status, now.Info), Taken: func() { l.told = &now }}, true
}

// ChainEnded means nothing here.
func (l *LocationService) ChainEnded() {}

// CardReset has the card told again.
func (l *LocationService) CardReset() { l.told = nil }
