package terminal

import (
	"time"

	"bipd/internal/config"
	"bipd/internal/cp"
	"bipd/limits"
	"bipd/uicc"
)

// lineWait is how long a card waits for its line after its CP has started: apd looks for it every 2 s at least.
const lineWait = 10 * time.Second

// newUnit puts together what one card needs beside its reader: its line to the AP, its policy. left is what the log of a
// reader that is the card's alone leaves out, nil where there is none.
func (t *Terminal) newUnit(card config.Card, reader uicc.Reader, left *limits.Bucket) (*cp.CP, error) {
	c, log := t.cfg.File, t.cfg.Log
	policy, err := c.Egress.Policy()
	if err != nil {
		return nil, err
	}
	rules, err := c.Rules()
	if err != nil {
		return nil, err
	}
	listenOn, err := c.Kernel.ListenOn()
	if err != nil {
		return nil, err
	}
	listenPorts, err := c.Kernel.PortRanges()
	if err != nil {
		return nil, err
	}
	listenFrom, err := c.Kernel.Clients()
	if err != nil {
		return nil, err
	}
	where, fixed := c.Terminal.Where()
	cfg := cp.Config{
		Location: where, FixedLocation: fixed,
		Name: card.Name, Reader: reader, PIN: card.PIN, PINICCID: card.PINICCID, LocalInfo: c.Terminal.LocalInfo(),
		PollInterval: c.Terminal.PollInterval.Duration, BufferLimit: c.Terminal.BufferLimit,
		ConnectTimeout: c.Terminal.ConnectTimeout.Duration, SendTimeout: c.Terminal.SendTimeout.Duration,
		FinishTime: c.Terminal.FinishTime.Duration,
		ShowTexts:  c.Terminal.DisplayText, AllowAPDU: c.Control.AllowAPDU, SendSMS: smsSender(c.SMS),
		Limits: cp.Limits{
			OpenChannel: c.Limits.OpenChannel, OpenBurst: c.Limits.OpenChannelBurst, ShortMessages: c.Limits.ShortMessages,
			Resets: c.Limits.Resets, LogLines: c.Limits.LogLines,
		},
		ReaderLines: left,
		Rules:       rules, Interface: c.Kernel.Interface, ListenOn: listenOn, ListenPorts: listenPorts, ListenFrom: listenFrom, DNS: c.Kernel.DNS, Policy: policy, Log: log, Trace: t.cfg.Trace,
	}
	if card.Line != nil {
		if cfg.Line, err = card.Line.Link(card.Name, log); err != nil {
			return nil, err
		}
		cfg.LineWait = t.lineWait
	}
	return cp.New(cfg), nil
}
