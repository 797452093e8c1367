package cat

// LocationService tells the card once, when it first asks for the event Location status, what service there is (clause 7.5.4):
// normal service where a location is configured, else none. A terminal without a radio never moves.
type LocationService struct {
	session *Session
	info    []byte
	told    bool
}

// NewLocationService makes the source of the event and registers it. info is the location information (clause 8.19); empty = no service.
func NewLocationService(s *Session, info []byte) *LocationService {
	l := &LocationService{session: s, info: info}
	s.AddSource(l)
	s.Claim(FacilityLocationStatus)
	return l
}

// NextEvent is due once, after the card has subscribed.
func (l *LocationService) NextEvent() (Due, bool) {
	if l.told || !l.session.Subscribed(EventLocationStatus) {
		return Due{}, false
	}
	status := LocationNoService
	if len(l.info) > 0 {
		status = LocationNormal
	}
	return Due{Envelope: LocationStatusEvent(status, l.info), Taken: func() { l.told = true }}, true
}

// ChainEnded means nothing here.
func (l *LocationService) ChainEnded() {}

// CardReset has the card told again.
func (l *LocationService) CardReset() { l.told = false }
