package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/config"
	"bipd/internal/cp"
	"bipd/softuicc"
)

// terminal is how a CP is configured.
type terminal struct {
	name  string
	full  bool  // with everything that can be configured
	fault error // of each connection; nil: they are made
}

// asBipd is what bipd has where its configuration says nothing; full is with everything that may be configured.
var (
	asBipd = terminal{name: "as installed"}
	full   = terminal{name: "all options", full: true}
)

// bearer makes connections to nowhere, or fails as it is told. UICC server mode is the kernel's.
type bearer struct {
	*bip.KernelBearer
	fault error
}

func (b bearer) Prepare(context.Context, bip.Request) bip.Dialer {
	return bip.DialerFunc(func(context.Context) (net.Conn, error) {
		if b.fault != nil {
			return nil, b.fault
		}
		near, far := net.Pipe()
		go func() { // what the card sends is taken, and its hanging up answered
			for p := make([]byte, 1024); ; {
				if _, err := far.Read(p); err != nil {
					far.Close()
					return
				}
			}
		}()
		return near, nil
	})
}

func (t terminal) config(r *softuicc.Reader) cp.Config {
	d := config.DefaultBipd()
	if t.full {
		d.Terminal.IMEISV, d.Terminal.Location, d.Terminal.DisplayText = "0010101234567812", "00F11000010001", true
		d.Kernel.Listen = "127.0.0.1"
	}
	listenOn, _ := d.Kernel.ListenOn() // an address or none, as above
	b := bearer{&bip.KernelBearer{ListenOn: listenOn}, t.fault}
	where, fixed := d.Terminal.Where()
	c := cp.Config{
		Location: where, FixedLocation: fixed,
		Name: "card", Reader: r, Router: &bip.Table{Method1: b, Method2: b}, ListenOn: listenOn,
		LocalInfo: d.Terminal.LocalInfo(), ShowTexts: d.Terminal.DisplayText, BufferLimit: d.Terminal.BufferLimit,
	}
	if t.full {
		c.SendSMS = func(context.Context, cat.ShortMessage) error { return nil }
	}
	return c
}

// askTime bounds one question.
const askTime = 30 * time.Second

// errNoAnswer says that the card was reset in place of an answer.
var errNoAnswer = errors.New("no response: the card is reset")

// run runs an applet at the terminal until it has ended.
func (t terminal) run(ctx context.Context, applet func(context.Context, *softuicc.Toolkit, *cp.CP) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	r := softuicc.NewReader("reader")
	unit := cp.New(t.config(r))
	ended := make(chan error, 1)
	card, err := softuicc.New(softuicc.Config{ThinkTime: askTime, Applets: []softuicc.Applet{func(ctx context.Context, tk *softuicc.Toolkit) error {
		err := applet(ctx, tk, unit)
		select {
		case ended <- err:
		default: // again, after a reset
		}
		return err
	}}})
	if err != nil {
		return err
	}
	if err := r.Insert(card); err != nil {
		return err
	}
	ran := make(chan error, 1)
	go func() { ran <- unit.Run(ctx) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	cancel()
	<-ran
	return errors.Join(err, card.Close())
}

// ask sends the commands one after the other and returns the answer to the last.
func (t terminal) ask(ctx context.Context, commands ...[]byte) (cat.Response, error) {
	var last cat.Response
	err := t.run(ctx, func(ctx context.Context, tk *softuicc.Toolkit, _ *cp.CP) error {
		for _, c := range commands {
			raw, err := tk.DoRaw(ctx, c)
			if errors.Is(err, softuicc.ErrReset) {
				return errNoAnswer
			}
			if err != nil {
				return err
			}
			if last, _, err = cat.ParseResponse(raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errNoAnswer) {
		err = fmt.Errorf("asking by %X: %w", commands, err)
	}
	return last, err
}

// answer is what a page says of an answer: the result, octets first.
func (t terminal) answer(ctx context.Context, commands ...[]byte) (string, error) {
	r, err := t.ask(ctx, commands...)
	if errors.Is(err, errNoAnswer) {
		return errNoAnswer.Error(), nil
	}
	return resultText(r.Result), err
}

func resultText(r cat.Result) string {
	octets := fmt.Sprintf("`%02X`", byte(r.General))
	if len(r.Info) > 0 {
		octets = fmt.Sprintf("`%02X %X`", byte(r.General), r.Info)
	}
	name := cat.Result{General: r.General}.String()
	if r.General == cat.ResultBIPError {
		name = r.String()
	}
	return octets + " " + name
}

// claims asks the CP who claims which bits.
func (t terminal) claims(ctx context.Context) (list []cat.Claim, err error) {
	err = t.run(ctx, func(ctx context.Context, tk *softuicc.Toolkit, unit *cp.CP) error {
		list = unit.Claims()
		return nil
	})
	if err == nil && list == nil {
		err = errors.New("the CP tells no claims")
	}
	return list, err
}
