"""One reader per source of motion, each giving `MotionSequence`s, and the steps that make sources alike."""
