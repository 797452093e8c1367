package main

import (
	"log/slog"
	"time"

	"bipd/egress"
	"bipd/internal/config"
	"bipd/internal/cp"
	"bipd/trace"
)

// add puts together what one card needs: its reader, its line to the AP, its policy.
func (d *terminal) add(c *config.Bipd, card config.Card, log *slog.Logger, stream *trace.Stream) (*cp.CP, error) {
	reader, closeReader, err := cp.OpenReader(card.Reader, log)
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, closeReader)
	policy, err := egress.New(c.Egress.Rules, egress.HostAddrs)
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
	cfg := cp.Config{
		Name: card.Name, Reader: reader, PIN: card.PIN, LocalInfo: c.Terminal.LocalInfo(),
		PollInterval: time.Duration(c.Terminal.PollInterval), BufferLimit: c.Terminal.BufferLimit,
		ConnectTimeout: time.Duration(c.Terminal.ConnectTimeout), SendTimeout: time.Duration(c.Terminal.SendTimeout),
		ShowTexts: c.Terminal.DisplayText, AllowAPDU: c.Control.AllowAPDU, SendSMS: smsSender(c.SMS),
		Rules: rules, Interface: c.Kernel.Interface, ListenOn: listenOn, DNS: c.Kernel.DNS, Policy: policy, Log: log, Trace: stream,
	}
	if card.Line != nil {
		if cfg.Line, err = card.Line.Link(card.Name, log); err != nil {
			return nil, err
		}
	}
	unit := cp.New(cfg)
	d.units = append(d.units, unit)
	return unit, nil
}
