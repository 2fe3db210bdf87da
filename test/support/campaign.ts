/** Whether faults are tried for as long as a night allows (`npm run test:faults`), or for seconds as in every run. */
export const isLong = process.env.MULTILITH_FAULTS === 'long';
