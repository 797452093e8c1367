package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"bipd/trace"
)

// operator is a daemon with one card, which notes what it is asked to do.
type operator struct {
	source
	asked chan string
	block chan struct{} // DownloadSMS waits for it, or for the client to go
}

func (o *operator) note(card, format string, args ...any) (Reply, error) {
	switch card {
	case "card 0/?":
		o.asked <- fmt.Sprintf(format, args...)
		return Reply{"9000", "OK", "AB"}, nil
	case "idle":
		return Reply{}, fmt.Errorf("%w: absent", ErrNotServing)
	case "closed":
		return Reply{}, ErrForbidden
	case "broken":
		return Reply{}, errors.New("the card is mute")
	}
	return Reply{}, fmt.Errorf("%w: %q", ErrNoCard, card)
}

func (o *operator) Menu(card string) (Menu, error) {
	_, err := o.note(card, "menu")
	return Menu{Title: "t", Items: []MenuItem{{1, "one"}}, Help: true}, err
}
func (o *operator) SelectItem(_ context.Context, card string, s Selection) (Reply, error) {
	return o.note(card, "%+v", s)
}
func (o *operator) DownloadSMS(ctx context.Context, card string, s SMS) (Reply, error) {
	if o.block != nil {
		close(o.block)
		<-ctx.Done()
		o.asked <- "gone"
		return Reply{}, ctx.Err()
	}
	return o.note(card, "%+v", s)
}
func (o *operator) SendEvent(_ context.Context, card string, e CardEvent) (Reply, error) {
	return o.note(card, "%+v", e)
}
func (o *operator) Transmit(_ context.Context, card string, a APDU) (Reply, error) {
	return o.note(card, "%+v", a)
}

// serveSource runs a server of src until the test ends and returns a client of it.
func serveSource(t *testing.T, src Source) *Client {
	t.Helper()
	c := NewClient(serve(t, src, &trace.Stream{}))
	t.Cleanup(c.Close)
	return c
}

func TestOperator(t *testing.T) {
	o := &operator{asked: make(chan string, 10)}
	c := serveSource(t, o)
	const name = "card 0/?"
	m, err := c.Menu(within(t), name)
	if err != nil || m.Title != "t" || len(m.Items) != 1 || m.Items[0].Text != "one" || !m.Help || receive(t, "the question", o.asked) != "menu" {
		t.Errorf("%+v %v", m, err)
	}
	for _, tt := range []struct {
		want string
		ask  func() (Reply, error)
	}{
		{"{ID:7 Help:true}", func() (Reply, error) { return c.SelectItem(within(t), name, Selection{7, true}) }},
		{"{Centre:+44 TPDU:00}", func() (Reply, error) { return c.DownloadSMS(within(t), name, SMS{"+44", "00"}) }},
		{"{Code:3 Objects:1B0102}", func() (Reply, error) { return c.SendEvent(within(t), name, CardEvent{3, "1B0102"}) }},
		{"{APDU:00A4}", func() (Reply, error) { return c.Transmit(within(t), name, APDU{"00A4"}) }},
	} {
		r, err := tt.ask()
		if err != nil || r != (Reply{"9000", "OK", "AB"}) {
			t.Errorf("%+v %v", r, err)
			continue
		}
		if got := receive(t, "the question", o.asked); got != tt.want {
			t.Errorf("asked %s, want %s", got, tt.want)
		}
	}
	for card, want := range map[string]string{
		"idle": "is not being served: absent", "closed": "forbids", "broken": "the card is mute", "nobody": `no such card: "nobody"`,
	} {
		if _, err := c.SelectItem(within(t), card, Selection{ID: 1}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", card, err)
		}
	}
}

// TestOperatorStatus asks as curl would, rightly and wrongly.
func TestOperatorStatus(t *testing.T) {
	o := &operator{asked: make(chan string, 10)}
	c := serveSource(t, o)
	for _, tt := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "card%200%2F%3F/menu", `{"id":1}`, 200},
		{"POST", "card%200%2F%3F/menu", `{"id":256}`, 400},
		{"POST", "card%200%2F%3F/menu", `{"item":1}`, 400},
		{"POST", "card%200%2F%3F/menu", `{`, 400},
		{"POST", "card%200%2F%3F/menu", `{"id":1` + strings.Repeat(" ", maxRequest) + `}`, 400},
		{"POST", "idle/apdu", `{"apdu":""}`, 409},
		{"POST", "closed/apdu", `{}`, 403},
		{"POST", "broken/event", `{}`, 502},
		{"POST", "nobody/sms-pp", `{}`, 404},
		{"GET", "nobody/menu", ``, 404},
		{"GET", "card0/apdu", ``, 405},
		{"POST", "card0/reset", `{}`, 404},
	} {
		req, err := http.NewRequestWithContext(within(t), tt.method, "http://daemon/v1/cards/"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s %.20s: %d, want %d", tt.method, tt.path, tt.body, resp.StatusCode, tt.want)
		}
	}
}

// TestOperatorGoes has a client give up: the daemon hears of it.
func TestOperatorGoes(t *testing.T) {
	o := &operator{asked: make(chan string, 10), block: make(chan struct{})}
	c := serveSource(t, o)
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		select {
		case <-o.block:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer cancel()
	if _, err := c.DownloadSMS(ctx, "idle", SMS{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := receive(t, "the end of what it asked for", o.asked); got != "gone" {
		t.Error(got)
	}
}

// TestNoOperator is a daemon without cards.
func TestNoOperator(t *testing.T) {
	c := serveSource(t, source{})
	if _, err := c.SelectItem(within(t), "card0", Selection{ID: 1}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
}
