package cat

import "context"

// Handler answers proactive commands of the types it is registered for. All its methods run on the goroutine that owns the card.
type Handler interface {
	// Handle answers a command. It must not block: what takes time goes into Answer.Wait.
	Handle(ctx context.Context, c Command) Answer
	// Facilities lists the bits of the TERMINAL PROFILE that the handler makes true.
	Facilities() []Facility
}

// Answer is what a Handler makes of a command: a response, or a wait that ends in one.
type Answer struct {
	Response Response
	// Wait, where it is set, runs on a goroutine of its own and takes the place of Response. The card is polled
	// meanwhile, but no other command comes. The function it returns runs on the card's goroutine and gives the
	// answer; it runs also when the session has ended, so that what Wait got is not lost.
	Wait func(ctx context.Context) func() Answer
	// Sending, where it is set, runs just before the response is sent; Sent after the card took it.
	Sending, Sent func()
}

// Due is an envelope that is due.
type Due struct {
	Envelope Envelope
	// Sending, where it is set, runs just before the envelope is sent, in place of the session's own trace event;
	// Taken once the card took it or does not want it.
	Sending, Taken func()
}

func (d Due) taken() {
	if d.Taken != nil {
		d.Taken()
	}
}

// Source has something to tell the card unasked. All its methods run on the goroutine that owns the card.
type Source interface {
	// NextEvent returns an envelope that is due, and false where there is none. It is asked only when the card
	// could take one, and again until Taken ran: the card may be busy.
	NextEvent() (Due, bool)
	// ChainEnded tells that the card, after at least one proactive command, has no more of them waiting.
	ChainEnded()
	// CardReset tells that the card forgot everything: it was reset, or is gone.
	CardReset()
}

// HandlerFunc makes a Handler of a function that answers at once, and of its facilities.
func HandlerFunc(f func(Command) Response, facilities ...Facility) Handler {
	return handlerFunc{f, facilities}
}

type handlerFunc struct {
	f          func(Command) Response
	facilities []Facility
}

func (h handlerFunc) Handle(_ context.Context, c Command) Answer { return Answer{Response: h.f(c)} }
func (h handlerFunc) Facilities() []Facility                     { return h.facilities }
