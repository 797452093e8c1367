package bip

import "bipd/trace"

// steps are the names that the messages of a channel have in its method (the tables are in package trace). A message
// that the method has no name for here is traced by the bearer, or has none.
type steps struct {
	peer                         trace.Party // to whom the gateway hands data
	open, answered, established  string
	send, toServer, fromServer   string
	available, receive, received string
	closing, closed, farClose    string
}

func stepsOf(m trace.Method) steps {
	switch m {
	case trace.Method1:
		return steps{trace.Server, "S401", "S402", "S406", "S407", "S408", "S409", "S410", "S411", "S412", "S413", "S414", "S415"}
	case trace.Method2:
		return steps{trace.AP, "S701", "S702", "S706", "S707", "S708", "S711", "S712", "S713", "S714", "S715", "S716", ""}
	}
	return steps{peer: trace.Server}
}
