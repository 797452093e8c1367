package cat

import (
	"context"
	"errors"
	"log/slog"
)

// ShortMessage is a message that the card wants sent.
type ShortMessage struct {
	Card    string  // name of the card
	Address Address // of the service centre; the zero Address = the terminal's own
	TPDU    []byte  // SMS-SUBMIT or SMS-COMMAND (3GPP TS 23.040), packed where the card asked for that
}

// ErrTooMany is the error of a send that would hand the message over at another time: the card hears 20 00, not "no service".
var ErrTooMany = errors.New("cat: too many short messages in this time")

// ShortMessages answers SEND SHORT MESSAGE by handing the message over to somebody who can send it, and lets short messages be
// handed to the card.
type ShortMessages struct {
	card string
	send func(context.Context, ShortMessage) error
	log  *slog.Logger
}

// NewShortMessages makes the handler of a session and registers it. send hands a message over, and may take its time; an error says
// that it was not. It is nil where there is nobody to send: the command is then not offered, and answered 20 04 (no service).
func NewShortMessages(s *Session, send func(context.Context, ShortMessage) error) *ShortMessages {
	m := &ShortMessages{card: s.cfg.Name, send: send, log: s.log}
	s.Handle(m, TypeSendShortMessage)
	return m
}

// Facilities are SMS-PP download, and SEND SHORT MESSAGE where there is somebody to send.
func (m *ShortMessages) Facilities() []Facility {
	f := []Facility{FacilitySMSPPDownload}
	if m.send != nil {
		f = append(f, FacilitySendShortMessage)
	}
	return f
}

// Handle answers once the message was handed over.
func (m *ShortMessages) Handle(_ context.Context, c Command) Answer {
	noService := Respond(c, Result{ResultTerminalUnable, []byte{InfoNoService}})
	if m.send == nil {
		m.log.Warn("card wants to send a short message, but there is no way to send it: see [sms]")
		return Answer{Response: noService}
	}
	b := c.Body.(*SendShortMessage)
	msg := ShortMessage{Card: m.card, TPDU: b.TPDU}
	if b.Address != nil {
		msg.Address = *b.Address
	}
	if c.Details.Qualifier&SMSPacking != 0 {
		packed, err := PackSubmit(b.TPDU)
		if err != nil {
			m.log.Warn("card's short message cannot be packed", "error", err)
			return Answer{Response: Respond(c, Result{General: ResultDataNotUnderstood})}
		}
		msg.TPDU = packed
	}
	return Answer{Wait: func(ctx context.Context) func() Answer {
		err := m.send(ctx, msg)
		return func() Answer {
			if err != nil {
				m.log.Warn("card's short message was not sent", "error", err)
			}
			if errors.Is(err, ErrTooMany) {
				return Answer{Response: Respond(c, tooMany)}
			}
			if err != nil {
				return Answer{Response: noService}
			}
			m.log.Info("card's short message was handed over", "octets", len(msg.TPDU))
			return Answer{Response: Respond(c, withIcon(b.Icon))}
		}
	}}
}
