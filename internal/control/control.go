// Package control is the socket on which bipctl asks a daemon: HTTP with JSON over a unix socket, so that curl and every
// other HTTP client can ask too.
//
//	GET  /v1/cards                []Card
//	GET  /v1/channels             []Channel
//	GET  /v1/readers              []Reader, at a daemon that has readers
//	GET  /v1/events               the trace events from now on, one JSON object a line, until the client closes; 32 clients
//	                              at most. An event with "lost" stands for as many that the client was too slow for
//	GET  /v1/cards/<name>/menu    Menu
//	POST /v1/cards/<name>/menu    Selection -> Reply
//	POST /v1/cards/<name>/sms-pp  SMS -> Reply
//	POST /v1/cards/<name>/event   CardEvent -> Reply
//	POST /v1/cards/<name>/apdu    APDU -> Reply, where the configuration allows it
//
// The POST requests act on a card, at a daemon that has cards. What guards them is the socket's mode: 0600, or 0660 with
// a group, so that only the daemon's user and that group may ask. A failure is answered by an HTTP status and {"error": "..."}.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"bipd/trace"
)

// Card is one card as bipd sees it, or one line as apd does.
type Card struct {
	Name   string `json:"name"`
	Reader string `json:"reader"`
	State  string `json:"state"`           // "absent", "waiting" (for the line), "serving", "failed"
	Error  string `json:"error,omitempty"` // why the last session ended
	ATR    string `json:"atr,omitempty"`   // hex
	Line   string `json:"line"`            // "none", "down", "AT", "multiplexed"
	// Service is what the card hears of it: "normal", "limited" or "none"; empty at apd.
	Service string `json:"service,omitempty"`
	Over    Over   `json:"over"` // what was refused, or left out, because it was beyond the limits
}

// Over counts what was beyond [limits] since the card, or the line, is served.
type Over struct {
	OpenChannel   int64 `json:"open_channel,omitempty"`
	ShortMessages int64 `json:"short_messages,omitempty"`
	Resets        int64 `json:"resets,omitempty"`
	LogLines      int64 `json:"log_lines,omitempty"`
	ATCommands    int64 `json:"at_commands,omitempty"` // that were answered later
	DLCs          int64 `json:"dlcs,omitempty"`        // that were taken later
}

// Channel is one open BIP channel.
type Channel struct {
	Card     string `json:"card"`
	Channel  int    `json:"channel"`
	Method   int    `json:"method"`
	State    string `json:"state"`
	Network  string `json:"network"`
	Remote   string `json:"remote"`
	Buffer   int    `json:"buffer"`   // octets granted
	Received int    `json:"received"` // octets that the card has read
	Sent     int64  `json:"sent"`     // octets that the far end has taken
}

// Source is the daemon that is asked. Its methods may be called from any goroutine.
type Source interface {
	Cards() []Card
	Channels() []Channel
}

// Serve answers on the socket until ctx ends. Only the user of the process, and where gid is not 0 the members of that
// group, may connect.
func Serve(ctx context.Context, path string, gid int, src Source, stream *trace.Stream) error {
	l, err := listen(ctx, path, gid)
	if err != nil {
		return err
	}
	events := &broadcast{stream: stream}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/cards", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, src.Cards()) })
	mux.HandleFunc("GET /v1/channels", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, src.Channels()) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { writeEvents(ctx, w, r, events) })
	if r, ok := src.(ReaderSource); ok {
		serveReaders(mux, r)
	}
	if op, ok := src.(Operator); ok {
		serveOperator(mux, op)
	}
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: clientTime, IdleTimeout: 10 * clientTime,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		if srv.Shutdown(end) != nil {
			srv.Close() // a client that does not read sees that its answer was cut
		}
	})
	err = srv.Serve(l)
	if stop() { // ctx has not ended
		srv.Close()
		return fmt.Errorf("control socket: %w", err)
	}
	<-stopped
	return nil
}

// endTime is how long the end waits for clients to take what is left for them.
const endTime = time.Second

// clientTime is how long a client may take over its request.
var clientTime = 10 * time.Second

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // an error is the client's going away
}

// writeEvents gives the client events until it goes away or ctx ends, and those before that end.
func writeEvents(ctx context.Context, w http.ResponseWriter, r *http.Request, events *broadcast) {
	reader, err := events.join()
	if err != nil {
		writeResult(w, nil, err)
		return
	}
	defer events.leave(reader)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.Flush() // the client knows now that it misses nothing
	for ended := false; ; {
		lines := events.take(reader)
		if len(lines) > 0 {
			if _, err := w.Write(lines); err != nil {
				return
			}
			continue
		}
		if ended || out.Flush() != nil {
			return
		}
		select {
		case <-reader.wake:
		case <-r.Context().Done(): // ctx, or the client has gone
			if ended = ctx.Err() != nil; !ended {
				return
			}
			events.finish()
		}
	}
}

// Client asks a daemon.
type Client struct{ http http.Client }

// NewClient makes a client of the daemon at the socket.
func NewClient(path string) *Client {
	var d net.Dialer
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}}
}

// Close lets the connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) get(ctx context.Context, what string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon/v1/"+what, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("is the daemon running? %w", errors.Unwrap(err))
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, decode(resp, nil)
	}
	return resp, nil
}

func (c *Client) getJSON(ctx context.Context, what string, v any) error {
	resp, err := c.get(ctx, what)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(v)
}

// Cards lists the cards.
func (c *Client) Cards(ctx context.Context) (cards []Card, err error) {
	err = c.getJSON(ctx, "cards", &cards)
	return cards, err
}

// Channels lists the open channels.
func (c *Client) Channels(ctx context.Context) (channels []Channel, err error) {
	err = c.getJSON(ctx, "channels", &channels)
	return channels, err
}

// Events calls f with every event from now on. It calls ready once none can be missed any more, and returns when ctx or
// the daemon ends.
func (c *Client) Events(ctx context.Context, ready func(), f func(trace.Event)) error {
	resp, err := c.get(ctx, "events")
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer resp.Body.Close()
	ready()
	dec := json.NewDecoder(resp.Body)
	for {
		var e trace.Event
		if err := dec.Decode(&e); err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("events: %w", err)
		}
		f(e)
	}
}
