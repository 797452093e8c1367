package terminal

import (
	"context"
	"fmt"

	"bipd/cat"
	"bipd/internal/config"
	"bipd/internal/control"
	"bipd/internal/cp"
	"bipd/internal/sms"
)

// find finds the CP that serves the card of the name.
func (t *Terminal) find(card string) (*cp.CP, error) {
	for _, u := range t.list() {
		if u.Name() == card {
			return u.CP, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", control.ErrNoCard, card)
}

// Menu is the card's menu.
func (t *Terminal) Menu(card string) (control.Menu, error) {
	u, err := t.find(card)
	if err != nil {
		return control.Menu{}, err
	}
	return u.Menu()
}

// SelectItem tells the card that the operator chose an item of its menu.
func (t *Terminal) SelectItem(ctx context.Context, card string, s control.Selection) (control.Reply, error) {
	u, err := t.find(card)
	if err != nil {
		return control.Reply{}, err
	}
	return u.SelectItem(ctx, s)
}

// DownloadSMS hands the card a short message.
func (t *Terminal) DownloadSMS(ctx context.Context, card string, s control.SMS) (control.Reply, error) {
	u, err := t.find(card)
	if err != nil {
		return control.Reply{}, err
	}
	return u.DownloadSMS(ctx, s)
}

// SendEvent tells the card of an event.
func (t *Terminal) SendEvent(ctx context.Context, card string, e control.CardEvent) (control.Reply, error) {
	u, err := t.find(card)
	if err != nil {
		return control.Reply{}, err
	}
	return u.SendEvent(ctx, e)
}

// Transmit sends the card a raw command APDU.
func (t *Terminal) Transmit(ctx context.Context, card string, a control.APDU) (control.Reply, error) {
	u, err := t.find(card)
	if err != nil {
		return control.Reply{}, err
	}
	return u.Transmit(ctx, a)
}

// smsSender is where cards' short messages go; nil = nowhere.
func smsSender(c config.SMS) func(context.Context, cat.ShortMessage) error {
	switch {
	case c.Spool != "":
		return sms.Spool{Dir: c.Spool}.Send
	case c.Hook != "":
		return sms.Hook{Path: c.Hook, Timeout: c.Timeout()}.Send
	}
	return nil
}
