package conformance

import "testing"

// TestConformance runs all cases; the independent decoder comes last, for it reads what the others said.
func TestConformance(t *testing.T) {
	t.Run("vectors", testVectors)
	t.Run("answers", testAnswers)
	t.Run("sequences", testSequences)
	t.Run("behaviour", testBehaviour)
	t.Run("features", testFeatures)
	t.Run("tshark", testTshark)
}
