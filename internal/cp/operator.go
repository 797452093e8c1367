package cp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"bipd/cat"
	"bipd/internal/control"
	"bipd/uicc"
)

// register puts together what the session answers beside BIP.
func (c *CP) register(session *cat.Session) *cat.UserInterface {
	if c.cfg.LocalInfo != nil {
		info := *c.cfg.LocalInfo
		info.Location = c.location
		session.Handle(&info, cat.TypeProvideLocalInformation)
	}
	cat.NewLocationService(session, c.location)
	cat.NewShortMessages(session, c.quota.sender(c.cfg.SendSMS))
	return cat.NewUserInterface(session, c.cfg.ShowTexts)
}

// serving is the session of the moment and its user interface, or an error where there is none.
func (c *CP) serving() (*cat.Session, *cat.UserInterface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil, nil, fmt.Errorf("%w: %s", control.ErrNotServing, c.state)
	}
	return c.session, c.ui, nil
}

// Menu is the card's menu.
func (c *CP) Menu() (control.Menu, error) {
	_, ui, err := c.serving()
	if err != nil {
		return control.Menu{}, err
	}
	m := ui.Menu()
	out := control.Menu{Title: m.Title, Help: m.Help}
	for _, i := range m.Items {
		out.Items = append(out.Items, control.MenuItem(i))
	}
	return out, nil
}

// SelectItem tells the card that the operator chose an item of its menu.
func (c *CP) SelectItem(ctx context.Context, s control.Selection) (control.Reply, error) {
	session, ui, err := c.serving()
	if err != nil {
		return control.Reply{}, err
	}
	e, err := ui.Selection(s.ID, s.Help)
	if err != nil {
		return control.Reply{}, fmt.Errorf("%w: %w", control.ErrBad, err)
	}
	return send(ctx, session, e)
}

// testCentre is a service centre for messages that never saw one: a number that is nobody's.
const testCentre = "+447700900000"

// DownloadSMS hands the card a short message.
func (c *CP) DownloadSMS(ctx context.Context, s control.SMS) (control.Reply, error) {
	session, _, err := c.serving()
	if err != nil {
		return control.Reply{}, err
	}
	if s.Centre == "" {
		s.Centre = testCentre
	}
	centre, err := cat.NewAddress(s.Centre)
	if err != nil {
		return control.Reply{}, fmt.Errorf("%w: %w", control.ErrBad, err)
	}
	tpdu, err := octets("TPDU", s.TPDU)
	if err != nil {
		return control.Reply{}, err
	}
	if len(tpdu) == 0 {
		return control.Reply{}, fmt.Errorf("%w: no TPDU", control.ErrBad)
	}
	return send(ctx, session, cat.SMSPPDownloadEnvelope(centre, tpdu))
}

// SendEvent tells the card of an event.
func (c *CP) SendEvent(ctx context.Context, e control.CardEvent) (control.Reply, error) {
	session, _, err := c.serving()
	if err != nil {
		return control.Reply{}, err
	}
	b, err := octets("objects", e.Objects)
	if err != nil {
		return control.Reply{}, err
	}
	objects, err := cat.ParseTLVs(b)
	if err != nil {
		return control.Reply{}, fmt.Errorf("%w: %w", control.ErrBad, err)
	}
	return send(ctx, session, cat.EventEnvelope(cat.EventCode(e.Code), objects...))
}

// Transmit sends the card a raw command APDU, where the configuration allows it.
func (c *CP) Transmit(ctx context.Context, a control.APDU) (control.Reply, error) {
	session, _, err := c.serving()
	if err != nil {
		return control.Reply{}, err
	}
	capdu, err := octets("APDU", a.APDU)
	if err != nil {
		return control.Reply{}, err
	}
	rapdu, err := session.Transmit(ctx, capdu)
	switch {
	case errors.Is(err, cat.ErrNotAllowed):
		return control.Reply{}, fmt.Errorf("%w: set control.allow_apdu", control.ErrForbidden)
	case errors.Is(err, cat.ErrOwnCommand), errors.Is(err, uicc.ErrCommand):
		return control.Reply{}, fmt.Errorf("%w: %w", control.ErrBad, err)
	case err != nil:
		return control.Reply{}, err
	}
	c.log.Info("operator's APDU was sent", "octets", len(capdu))
	data, sw, err := uicc.SplitResponse(rapdu)
	return reply(sw, data), err
}

// send has the session send an envelope.
func send(ctx context.Context, s *cat.Session, e cat.Envelope) (control.Reply, error) {
	sw, data, err := s.SendEnvelope(ctx, e)
	if errors.Is(err, cat.ErrNotSubscribed) || errors.Is(err, cat.ErrTooLong) {
		err = fmt.Errorf("%w: %w", control.ErrBad, err)
	}
	if err != nil {
		return control.Reply{}, err
	}
	return reply(sw, data), nil
}

func reply(sw uicc.StatusWord, data []byte) control.Reply {
	return control.Reply{SW: fmt.Sprintf("%04X", uint16(sw)), Meaning: sw.Meaning(), Data: strings.ToUpper(hex.EncodeToString(data))}
}

// octets reads hex as people write it, blanks allowed.
func octets(what, s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", control.ErrBad, what, err)
	}
	return b, nil
}
