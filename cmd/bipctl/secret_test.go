package main

import (
	"context"
	"strings"
	"testing"

	"bipd/cat"
	"bipd/softuicc"
	"bipd/trace"
)

// The passwords of the AP's profile and of the card are in no log, at debug level, and in no event. Every stand looks
// for the profile's at its end; here it is sure that both have been used.
func TestSecrets(t *testing.T) {
	needNamespaces(t)
	eachMethod(t, nil, func(s *stand) {
		s.serve(wordPort, repeatWord)
		const login, password = "card-login", "card-Password"
		step := "S403" // the AP tells the profile
		if s.net.method == trace.Method2 {
			step = "S705" // the AP has taken the card's login and password
		}
		err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
			if err := s.download(ctx, tk, wordPort); err != nil {
				return err
			}
			p := s.dial(background)
			l, w := cat.NewText(login), cat.NewText(password)
			p.Login, p.Password = &l, &w
			c, err := tk.Dialer(p)(ctx, "tcp", s.server(wordPort))
			if err != nil {
				return err
			}
			return c.Close()
		}, sight{step, func(e trace.Event) bool { return e.Step == step && e.Err == "" }},
			sight{"an APDU", func(e trace.Event) bool { return e.APDU != "" }})
		if err != nil {
			s.Fatal(err)
		}
		s.term.close()
		s.noSecret(password)
		for _, p := range []*process{s.term.cp, s.term.ap} {
			if !strings.Contains(s.log(p), "level=DEBUG") {
				s.Errorf("%s has logged nothing at debug level", p.name)
			}
		}
	})
}
