package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Operator is a daemon that has cards to act on; Serve offers what a Source can do beyond telling. Its methods may be called from any
// goroutine. Errors that wrap one of those below become their HTTP status, others 502: the card did not do it.
type Operator interface {
	Menu(card string) (Menu, error)
	SelectItem(ctx context.Context, card string, s Selection) (Reply, error)
	DownloadSMS(ctx context.Context, card string, s SMS) (Reply, error)
	SendEvent(ctx context.Context, card string, e CardEvent) (Reply, error)
	Transmit(ctx context.Context, card string, a APDU) (Reply, error)
}

// Reasons for which nothing was sent to a card.
var (
	ErrNoCard     = errors.New("there is no such card")           // 404
	ErrNotServing = errors.New("the card is not being served")    // 409
	ErrForbidden  = errors.New("the configuration forbids that")  // 403
	ErrBad        = errors.New("this cannot be sent to the card") // 400
	ErrNoReaders  = errors.New("this daemon holds no USB reader") // 404
)

// Menu is what a card's SET UP MENU has set up; without items there is none.
type Menu struct {
	Title string     `json:"title"`
	Items []MenuItem `json:"items"`
	Help  bool       `json:"help"` // the card has help about its items
}

// MenuItem is one entry of a Menu.
type MenuItem struct {
	ID   byte   `json:"id"`
	Text string `json:"text"`
}

// Selection chooses an item of the menu.
type Selection struct {
	ID   byte `json:"id"`
	Help bool `json:"help,omitempty"` // ask for help about it
}

// SMS is a short message for the card.
type SMS struct {
	Centre string `json:"centre,omitempty"` // service centre's number; "" = a test number
	TPDU   string `json:"tpdu"`             // SMS-DELIVER, hex
}

// CardEvent is an event for the card.
type CardEvent struct {
	Code    byte   `json:"code"`
	Objects string `json:"objects,omitempty"` // COMPREHENSION-TLVs behind the device identities, hex
}

// APDU is a raw command APDU.
type APDU struct {
	APDU string `json:"apdu"` // hex
}

// Reply is what the card answered.
type Reply struct {
	SW      string `json:"sw"`      // hex
	Meaning string `json:"meaning"` // of the status word
	Data    string `json:"data"`    // hex
}

// maxRequest bounds the body of a request.
const maxRequest = 1 << 16

// problem is the body of an answer that is none.
type problem struct {
	Error string `json:"error"`
}

// serveOperator adds what an Operator can do.
func serveOperator(mux *http.ServeMux, op Operator) {
	mux.HandleFunc("GET /v1/cards/{card}/menu", func(w http.ResponseWriter, r *http.Request) {
		m, err := op.Menu(r.PathValue("card"))
		if m.Items == nil {
			m.Items = []MenuItem{}
		}
		writeResult(w, m, err)
	})
	post(mux, "menu", op.SelectItem)
	post(mux, "sms-pp", op.DownloadSMS)
	post(mux, "event", op.SendEvent)
	post(mux, "apdu", op.Transmit)
}

// post adds a request that has a T for the card and brings its Reply.
func post[T any](mux *http.ServeMux, what string, f func(context.Context, string, T) (Reply, error)) {
	mux.HandleFunc("POST /v1/cards/{card}/"+what, func(w http.ResponseWriter, r *http.Request) {
		var v T
		body := http.NewResponseController(w)
		_ = body.SetReadDeadline(time.Now().Add(clientTime))
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&v); err != nil {
			writeResult(w, nil, fmt.Errorf("%w: %v", ErrBad, err))
			return
		}
		_ = body.SetReadDeadline(time.Time{}) // a client that goes away is noticed by reading on
		reply, err := f(r.Context(), r.PathValue("card"), v)
		writeResult(w, reply, err)
	})
}

func writeResult(w http.ResponseWriter, v any, err error) {
	if err == nil {
		writeJSON(w, v)
		return
	}
	status := http.StatusBadGateway
	for cause, code := range map[error]int{
		ErrNoCard: http.StatusNotFound, ErrNoReaders: http.StatusNotFound, ErrNotServing: http.StatusConflict, errReaders: http.StatusServiceUnavailable, ErrForbidden: http.StatusForbidden, ErrBad: http.StatusBadRequest,
	} {
		if errors.Is(err, cause) {
			status = code
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(problem{err.Error()}) // an error is the client's going away
}

// Menu asks for the card's menu.
func (c *Client) Menu(ctx context.Context, card string) (m Menu, err error) {
	err = c.ask(ctx, http.MethodGet, card, "menu", nil, &m)
	return m, err
}

// SelectItem chooses an item of the card's menu.
func (c *Client) SelectItem(ctx context.Context, card string, s Selection) (r Reply, err error) {
	err = c.ask(ctx, http.MethodPost, card, "menu", s, &r)
	return r, err
}

// DownloadSMS hands the card a short message.
func (c *Client) DownloadSMS(ctx context.Context, card string, s SMS) (r Reply, err error) {
	err = c.ask(ctx, http.MethodPost, card, "sms-pp", s, &r)
	return r, err
}

// SendEvent tells the card of an event.
func (c *Client) SendEvent(ctx context.Context, card string, e CardEvent) (r Reply, err error) {
	err = c.ask(ctx, http.MethodPost, card, "event", e, &r)
	return r, err
}

// Transmit sends the card a raw command APDU.
func (c *Client) Transmit(ctx context.Context, card string, a APDU) (r Reply, err error) {
	err = c.ask(ctx, http.MethodPost, card, "apdu", a, &r)
	return r, err
}

// ask sends a request about a card and reads its answer into v.
func (c *Client) ask(ctx context.Context, method, card, what string, body, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	target := "http://daemon/v1/cards/" + url.PathEscape(card) + "/" + what
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("no answer from the card in time: %w", ctx.Err())
		}
		return fmt.Errorf("is the daemon running? %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	return decode(resp, v)
}

// decode reads an answer into v, or the error that it is.
func decode(resp *http.Response, v any) error {
	if resp.StatusCode == http.StatusOK {
		return json.NewDecoder(resp.Body).Decode(v)
	}
	var p problem
	if json.NewDecoder(resp.Body).Decode(&p) != nil || p.Error == "" {
		return fmt.Errorf("the daemon answered %s", resp.Status)
	}
	return errors.New(p.Error)
}
