package cat

// Qualifiers of REFRESH (clause 8.6).
const (
	RefreshInitAndFullFCN byte = 0x00 // NAA initialisation and full file change notification
	RefreshFCN            byte = 0x01 // file change notification
	RefreshInitAndFCN     byte = 0x02
	RefreshInit           byte = 0x03
	RefreshUICCReset      byte = 0x04
	RefreshApplication    byte = 0x05 // NAA application reset
	RefreshSession        byte = 0x06 // NAA session reset
	RefreshSteering       byte = 0x07 // of roaming
	RefreshSteeringWLAN   byte = 0x08
	RefreshEUICCProfile   byte = 0x09 // eUICC profile state change
)

// Refresh tells that files changed or that the card wants a reset (clause 6.6.13).
type Refresh struct {
	Presentation
	Files []byte // file list (clause 8.18): number of files, then their paths
	AID   []byte
}

func (r *Refresh) Type() CommandType { return TypeRefresh }
func (r *Refresh) check(byte) error  { return nil }
func (r *Refresh) appendObjects(dst []TLV) []TLV {
	if r.Files != nil {
		dst = append(dst, TLV{TagFileList, true, r.Files})
	}
	if r.AID != nil {
		dst = append(dst, TLV{TagAID, false, r.AID})
	}
	return r.appendTail(r.appendHead(dst, false))
}

func (r *Refresh) setObject(t TLV, _ []TLV) (bool, error) {
	switch t.Tag {
	case TagFileList:
		r.Files = t.Value
	case TagAID:
		r.AID = t.Value
	default:
		return r.Presentation.setObject(t), nil
	}
	return true, nil
}

// empty is the body of a command that carries nothing.
type empty struct{}

func (empty) check(byte) error                   { return nil }
func (empty) appendObjects(dst []TLV) []TLV      { return dst }
func (empty) setObject(TLV, []TLV) (bool, error) { return false, nil }

// MoreTime asks for time for the card's own work (clause 6.6.4).
type MoreTime struct{ empty }

// PollingOff ends the interval that POLL INTERVAL set (clause 6.6.14).
type PollingOff struct{ empty }

// ProvideLocalInformation asks for what the qualifier names (clause 6.6.15).
type ProvideLocalInformation struct{ empty }

func (*MoreTime) Type() CommandType                { return TypeMoreTime }
func (*PollingOff) Type() CommandType              { return TypePollingOff }
func (*ProvideLocalInformation) Type() CommandType { return TypeProvideLocalInformation }

// Qualifiers of PROVIDE LOCAL INFORMATION (clause 8.6).
const (
	LocalLocation         byte = 0x00
	LocalIMEI             byte = 0x01
	LocalDateTime         byte = 0x03
	LocalLanguage         byte = 0x04
	LocalAccessTechnology byte = 0x06
	LocalIMEISV           byte = 0x08
)

// PollInterval asks for STATUS at this interval (clause 6.6.6).
type PollInterval struct {
	Interval Duration

	hasInterval bool
}

func (p *PollInterval) Type() CommandType             { return TypePollInterval }
func (p *PollInterval) appendObjects(dst []TLV) []TLV { return append(dst, p.Interval.tlv()) }

func (p *PollInterval) setObject(t TLV, _ []TLV) (bool, error) {
	if t.Tag != TagDuration {
		return false, nil
	}
	var err error
	p.Interval, err = parseDuration(t.Value)
	p.hasInterval = true
	return true, err
}

func (p *PollInterval) check(byte) error {
	if !p.hasInterval {
		return valuesMissing("no duration")
	}
	return nil
}

// SetUpEventList replaces the list of events that the card wants (clause 6.6.16). An empty list ends all events.
type SetUpEventList struct {
	Events []EventCode

	hasEvents bool
}

func (s *SetUpEventList) Type() CommandType { return TypeSetUpEventList }
func (s *SetUpEventList) appendObjects(dst []TLV) []TLV {
	return append(dst, eventListTLV(s.Events...))
}

func eventListTLV(events ...EventCode) TLV {
	v := make([]byte, len(events))
	for i, e := range events {
		v[i] = byte(e)
	}
	return TLV{TagEventList, true, v}
}

func (s *SetUpEventList) setObject(t TLV, _ []TLV) (bool, error) {
	if t.Tag != TagEventList {
		return false, nil
	}
	s.hasEvents = true
	for _, e := range t.Value {
		s.Events = append(s.Events, EventCode(e))
	}
	return true, nil
}

func (s *SetUpEventList) check(byte) error {
	if !s.hasEvents {
		return valuesMissing("no event list")
	}
	return nil
}

// Qualifiers of TIMER MANAGEMENT (clause 8.6, bits 1 and 2).
const (
	TimerStart      byte = 0x00
	TimerDeactivate byte = 0x01
	TimerGetValue   byte = 0x02
)

// TimerManagement starts, stops or reads one of eight timers (clause 6.6.21).
type TimerManagement struct {
	Timer byte // 1..8
	Value *TimerValue
}

func (m *TimerManagement) Type() CommandType { return TypeTimerManagement }
func (m *TimerManagement) appendObjects(dst []TLV) []TLV {
	dst = append(dst, TLV{TagTimerIdentifier, true, []byte{m.Timer}})
	if m.Value != nil {
		dst = append(dst, m.Value.tlv())
	}
	return dst
}

func (m *TimerManagement) setObject(t TLV, _ []TLV) (bool, error) {
	var err error
	switch t.Tag {
	case TagTimerIdentifier:
		m.Timer, err = parseByte(t.Value, "timer identifier")
		if err == nil && (m.Timer < 1 || m.Timer > maxTimers) {
			err = notUnderstood("timer %d", m.Timer)
		}
	case TagTimerValue:
		var v TimerValue
		v, err = parseTimerValue(t.Value)
		m.Value = &v
	default:
		return false, nil
	}
	return true, err
}

func (m *TimerManagement) check(qualifier byte) error {
	if m.Timer == 0 {
		return valuesMissing("no timer identifier")
	}
	if qualifier&0x03 == TimerStart && m.Value == nil {
		return valuesMissing("no timer value")
	}
	return nil
}

// maxTimers is the number of timers of a terminal (clause 6.4.21).
const maxTimers = 8

// LanguageNotification tells the language of the card's texts (clause 6.6.24).
type LanguageNotification struct {
	Language []byte // two octets, ISO 639 in 8-bit characters; nil = none in particular
}

func (l *LanguageNotification) Type() CommandType { return TypeLanguageNotification }
func (l *LanguageNotification) check(byte) error  { return nil }
func (l *LanguageNotification) appendObjects(dst []TLV) []TLV {
	if l.Language != nil {
		dst = append(dst, TLV{TagLanguage, true, l.Language})
	}
	return dst
}

func (l *LanguageNotification) setObject(t TLV, _ []TLV) (bool, error) {
	if t.Tag != TagLanguage {
		return false, nil
	}
	l.Language = t.Value
	return true, nil
}
